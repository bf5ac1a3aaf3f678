"""`atlas port`: ports in other processes."""

import typer

HELP = "Serve the reference to another program, check a program against the protocol, run one case."

app = typer.Typer(no_args_is_help=True, help=HELP)


@app.callback()
def _group() -> None: ...

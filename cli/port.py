"""`atlas port`: serve the reference to another program, check a program against the protocol, run one case."""

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Serve the reference to another program, check a program against the protocol, run one case.",
)


@app.callback()
def _group() -> None: ...

"""`atlas vectors`: export the stored cases, check answers to them, fill them anew."""

import typer

app = typer.Typer(no_args_is_help=True, help="Export the stored cases, check answers to them, fill them anew.")


@app.callback()
def _group() -> None: ...

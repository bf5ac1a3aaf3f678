"""`atlas watch`: a page in the browser that follows runs while they train."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from atlas_ref.errors import UserError
from cli.console import say

NEEDED = ("starlette", "uvicorn")
PORT = 8477


def watch(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN...]", help="Run directories, or folders of them.", show_default="runs"),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = PORT,
) -> None:
    """Follow runs on a page in the browser.

    Loss, gates, memory and halting as they are logged, kills, gate reports and samples; several runs over each other.
    Served to this machine alone; it only reads, and needs no network.
    """
    check_watch("atlas watch")
    places = list(runs or [Path("runs")])
    for place in places:
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: is not a directory; name run directories, or folders of them.")
    if not runs and not places[0].exists():
        raise UserError(f"{places[0]}: is not there; name run directories, or folders of them.")
    from cli.dashboard.server import address, listen, serve
    from cli.dashboard.watched import Watch

    with listen(port) as listening:
        say(f"{address(listening)}  (Ctrl-C ends it)")
        serve(Watch(places), listening)


def check_watch(what: str) -> None:
    """Raise UserError when what the page is served with is not installed."""
    if any(find_spec(package) is None for package in NEEDED):
        raise UserError(f"{what} needs {' and '.join(NEEDED)}; in a checkout: pip install '.[watch]'")

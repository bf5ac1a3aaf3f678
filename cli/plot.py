"""`atlas plot`: the curves of one run or several as a PNG."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from atlas_ref.errors import UserError
from atlas_ref.places import check_file
from cli.console import say

DPI = 130
MARK = {"Software": "atlas plot"}
"""By this a picture is known that may be drawn anew."""
MOST_HEADER = 1024
MOST_LINES = 10_000
"""Lines that a mean may be taken of; each is added up anew."""


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture of this command."""
    with path.open("rb") as stream:
        return b"tEXtSoftware\0" + MARK["Software"].encode() in stream.read(MOST_HEADER)


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, drawn over each other.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Picture.", show_default="RUN/curves.png, or curves.png")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="loss, a memory metric such as omega_loss, or a key of the log; may be repeated."
        ),
    ] = None,
    x: Annotated[Literal["step", "tokens"], typer.Option("--x", help="What lies on the x axis.")] = "step",
    log: Annotated[bool, typer.Option("--log", help="Put the loss on a logarithmic axis.")] = False,
    smooth: Annotated[
        int, typer.Option(min=1, max=MOST_LINES, metavar="N", help="Draw the mean of N lines of the training loss.")
    ] = 1,
) -> None:
    """Draw the curves of runs as a picture.

    Losses, learning rate, gradient norm, gates and memory: the mean over layers, and their range where there are
    several. Of a run that may grok also both accuracies, the phase and its signs.
    """
    from cli.run_records import read_run

    if find_spec("matplotlib") is None:
        raise UserError("atlas plot needs matplotlib; in a checkout: pip install '.[plot]'")
    records = [read_run(path) for path in runs]
    from cli.curves import View, draw

    target = out or (runs[0] / "curves.png" if len(runs) == 1 else Path("curves.png"))
    if target.suffix.lower() != ".png":
        raise UserError(f"--out is {target}; it must end in .png.")
    check_file(target, "--out", is_picture)
    target.parent.mkdir(parents=True, exist_ok=True)
    draw(records, metric or [], View(x == "tokens", log, smooth)).savefig(target, dpi=DPI, metadata=MARK)
    say(f"wrote {target}")

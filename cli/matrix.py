"""`atlas matrix`: every public implementation of the catalogue under the suite, and the page that shows it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import say

if TYPE_CHECKING:
    from spec_tests.matrix.model import Row


def matrix(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="One of the catalogue; may be given again.")
    ] = None,
    speed: Annotated[bool, typer.Option("--speed", help="Time a layer of each in place of asking it.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where matrix.json and matrix.html go.")] = Path("docs"),
) -> None:
    """Ask every public implementation, and write the matrix.

    Each in an environment of its own, kept in the user's cache. With --only, the rows of the others stay as they are.
    """
    from spec_tests.matrix.catalogue import chosen
    from spec_tests.matrix.gather import gather, time_layers

    if speed:
        for each in time_layers(chosen(only or []), out):
            spread = f"{each.least:.2f} to {each.most:.2f}"
            say(f"{each.name}, {each.device}: {each.ratio:.2f} times the reference's time ({spread})")
        return
    found = gather(chosen(only or []), out, _tell, fresh=not only)
    asked = [row for row in found.rows if not row.absent]
    say(f"wrote {out}: {len(asked)} of {len(found.rows)} implementations asked")


def _tell(row: "Row") -> None:
    if row.absent:
        say(f"{row.name}: absent: {row.absent}")
        return
    cells = [cell for chapter in row.chapters.values() for cell in chapter.values()]
    passed, failed = (sum(getattr(cell, name) for cell in cells) for name in ("passed", "failed"))
    say(f"{row.name}: passed {passed}, failed {failed}, in {len(row.chapters)} chapters ({row.seconds:.0f} s)")

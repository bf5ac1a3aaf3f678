"""How commands print: nothing from outside is obeyed by the terminal, and prose is folded to its width."""

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import typer

from atlas_ref.wording import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GAP = 2
"""Columns between two columns of a table."""
MOST_WIDTH = 100
"""Most columns of a line of prose: longer ones are hard to read."""


def say(text: str, *, err: bool = False) -> None:
    """Print a text that may hold what others wrote: names, paths, reasons, messages of other programs."""
    typer.echo(visible(text, lines=True), err=err)


def prose_width() -> int:
    """Return the columns that a line of prose may have here."""
    return min(MOST_WIDTH, shutil.get_terminal_size().columns)


def folded(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` columns, or of 20, where its words allow it."""
    return textwrap.wrap(text, max(20, width), break_long_words=False, break_on_hyphens=False)


def bare_table(*, header: bool = True) -> "Table":
    """Return an empty table without rules, as every command prints its own."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=header)


def print_table(table: "Table", least: int = 0, console: "Console | None" = None) -> None:
    """Print a table within the terminal, but in no less than `least` columns; elsewhere as wide as it needs."""
    from rich.console import Console
    from rich.measure import Measurement

    console = console or Console(highlight=False)
    before = console.width
    whole = console.options.update(max_width=sys.maxsize)
    console.width = max(before, least) if console.is_terminal else Measurement.get(console, whole, table).maximum
    console.print(table)
    console.width = before

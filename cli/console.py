"""How commands print: nothing from outside is obeyed by the terminal."""

import sys
from typing import TYPE_CHECKING

import typer

from atlas_ref.wording import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GAP = 2
"""Columns between two columns of a table."""


def say(text: str, *, err: bool = False) -> None:
    """Print a text that may hold what others wrote: names, paths, reasons, messages of other programs."""
    typer.echo(visible(text, lines=True), err=err)


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

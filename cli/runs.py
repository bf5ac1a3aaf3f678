"""`atlas runs`: what was trained, how it ended and how well, as a table; and in what two runs differ."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from atlas_ref.errors import UserError
from atlas_ref.wording import visible
from cli.console import bare_table, print_table, say

SortKey = Literal[
    "run", "status", "steps", "parameters", "seed", "train_loss", "val_loss", "best_val_loss", "tokens_per_second"
]


def runs(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the runs are.")] = Path("runs"),
    sort: Annotated[SortKey, typer.Option(help="Column to sort by; unknown values come last.")] = "run",
    diff: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A B", help="Show in which fields two runs differ instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs: how they ended and how well.

    Every run below a directory is listed, a damaged one with its fault.
    """
    from cli.run_records import differences, find_runs, read_run

    if diff is not None:
        found = differences(*map(read_run, diff))
        typer.echo(json.dumps(found, indent=2)) if as_json else _print_differences(diff, found)
        return
    rows = sorted((row_of(path, directory) for path in find_runs(directory)), key=lambda row: _rank(row, sort))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_rows(rows, sort)
    else:
        say(f"{directory} holds no run")


def row_of(path: Path, root: Path) -> dict[str, Any]:
    """Return the row of a run, or its name and fault."""
    from cli.run_records import read_run

    name = str(path.relative_to(root)) if path != root else path.resolve().name
    try:
        return {"run": name, **read_run(path).row()}
    except (UserError, OSError) as error:
        return {"run": name, "status": f"damaged: {str(error).removeprefix(str(path)).lstrip('/: ')}"}


def _rank(row: dict[str, Any], key: str) -> tuple[bool, Any, str]:
    value = row.get(key)
    return value is None, 0 if value is None else value, row["run"]


def _print_rows(rows: list[dict[str, Any]], sort: str) -> None:
    """Print the table, what its words leave unsaid, and which columns the terminal has no room for."""
    from rich.console import Console

    from cli.run_table import layout, table

    console = Console(highlight=False)
    found = layout(rows, console.width if console.is_terminal else None, sort)
    print_table(table(found), found.width)
    if found.notes:
        console.print()
    for note, names in found.notes.items():
        console.print(f"{', '.join(names)}: {note}", markup=False, emoji=False)
    if found.left_out:
        console.print(f"left out for want of width: {', '.join(found.left_out)} (--json has everything)", style="dim")


def _print_differences(paths: tuple[Path, Path], found: dict[str, tuple[Any, Any]]) -> None:
    from rich.text import Text

    if not found:
        typer.echo("the two configurations are equal")
        return
    table = bare_table()
    for heading in ("field", *map(str, paths)):
        table.add_column(Text(visible(heading)))
    for name, pair in found.items():
        table.add_row(Text(visible(name)), *("-" if value is None else Text(json.dumps(value)) for value in pair))
    print_table(table)

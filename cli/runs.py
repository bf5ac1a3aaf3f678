"""`atlas runs`: what was trained, how it ended and how well, as a table; and in what two runs differ."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from atlas_ref.errors import UserError

LOG_WIDTH = 200
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
    """List every run below a directory; damaged ones are listed with their fault."""
    from cli.run_records import differences, find_runs, read_run

    if diff is not None:
        found = differences(*map(read_run, diff))
        typer.echo(json.dumps(found, indent=2)) if as_json else _print_differences(diff, found)
        return
    rows = sorted((row_of(path, directory) for path in find_runs(directory)), key=lambda row: _rank(row, sort))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_rows(rows)
    else:
        typer.echo(f"{directory} holds no run")


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


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for heading in ("run", "status", "steps", "parameters", "memory", "seed"):
        table.add_column(heading, justify="right" if heading in ("steps", "parameters", "seed") else "left")
    for heading in ("train loss", "val loss", "best (step)", "tokens/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("preflight")
    for row in rows:
        table.add_row(*(escape(cell) for cell in _cells(row)))
    _print(table)


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the texts of a row; a fault stands alone."""
    if "steps" not in row:
        return [row["run"], row["status"]]
    best = "-" if row["best_val_loss"] is None else f"{row['best_val_loss']:.4f} ({row['best_val_step']})"
    return [
        row["run"],
        row["status"],
        f"{row['steps']}/{row['max_steps']}",
        _number(row["parameters"], ",d"),
        row["memory"],
        str(row["seed"]),
        _number(row["train_loss"], ".4f"),
        _number(row["val_loss"], ".4f"),
        best,
        _number(row["tokens_per_second"], ",.0f"),
        row["preflight"],
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _print_differences(paths: tuple[Path, Path], found: dict[str, tuple[Any, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not found:
        typer.echo("the two configurations are equal")
        return
    table = Table()
    for heading in ("field", *map(str, paths)):
        table.add_column(escape(heading))
    for name, pair in found.items():
        table.add_row(name, *("-" if value is None else escape(json.dumps(value)) for value in pair))
    _print(table)


def _print(table: object) -> None:
    """Print a table, at a width that holds it where the output is not a terminal."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=LOG_WIDTH)).print(table)

"""How results are shown and kept: a table on the terminal, JSON under runs/benchmarks, and what machine it was."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path("runs/benchmarks")
LOG_WIDTH = 160


def machine(threads: int) -> dict[str, object]:
    """Return what a reader must know to compare numbers; the load is that of the minutes before this call."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "threads": threads,
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def as_markdown(lines: Iterable[Sequence[str]]) -> str:
    """Return lines as a Markdown table, the first as its head."""
    head, *rows = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def print_table(table: Table) -> None:
    """Print a table, at a width that holds it where the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    console.print(table)


def write_results(name: str, results: object) -> Path:
    """Write `results` as JSON under runs/benchmarks and return the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path

"""The whole grid on which the parallel form of the memory must equal the recurrence, in float64.

    python -m benchmarks.equivalence [--every 1] [--port spec_tests.ports.reference:ReferencePort]

Every rule, memory, length, chunk, window and feature map of `spec_tests.memory_grid`, each with three rows out of
phase, resets anywhere, and a split into three calls; the two-valued options (window boundary, reading time, loss scale,
step scale) are drawn cell by cell. 2,600 cells, 15 to 30 minutes on one core; `--every 20` runs a twentieth of them.

Of a port those cells run that it declares; `--port spec_tests.ports.kernels:CpuPort` compares the kernels for a CPU.

Outputs, outputs of split calls and gradients are set against the recurrent form, and outputs against the numpy loop
too. Beside the errors stands the amplification: how far the plain numpy loop's own answer moves, in ulps, when its
inputs move by one. It is what any two correct forms must be allowed to differ by.
"""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

import torch
from rich.table import Table

from benchmarks.report import machine, print_table, write_results
from spec_tests.chapters.memory_chunked.grid import AXES, EQUAL, call, describe, errors
from spec_tests.chapters.memory_step.calls import amplification
from spec_tests.contract.outcome import UndeclaredError
from spec_tests.drawing.inputs import generator
from spec_tests.port import Op, Port
from spec_tests.process.load import REFERENCE, load_port

WHOLE = ("rule", "architecture", "time", "chunk", "window", "basis")
DRAWN = tuple(name for name in AXES if name not in WHOLE)
ERRORS = ("outputs", "split", "gradients", "loop")
MEASURES = (*ERRORS, "amplification")


def cells() -> Iterator[dict[str, Any]]:
    """Yield every cell; `delta` has a window of one token only."""
    turns = list(product(*(AXES[name] for name in DRAWN)))
    for number, values in enumerate(product(*(AXES[name] for name in WHOLE))):
        cell = dict(zip(WHOLE, values, strict=True))
        if cell["rule"] != "delta" or cell["window"] == 1:
            drawn = turns[int(generator(number).integers(len(turns)))]
            yield cell | dict(zip(DRAWN, drawn, strict=True))


def declared(port: Port, cell: Mapping[str, Any]) -> bool:
    """Return whether a port declares the memory of a cell."""
    return all(cell[name] in known for name, known in port.declare().only.items() if name in cell)


def measure(port: Port, recurrence: Port, cell: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Return the worst relative errors of one cell, and the amplification of the loop."""
    amplified = amplification(*call(cell, seed)) if cell["time"] else 0.0
    return {**errors(port, cell, seed, recurrence=recurrence), "amplification": amplified}


def worst_by_kind(results: list[tuple[dict[str, Any], dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Return, by rule and memory, the number of cells, the worst of each measure, and the cell of the worst error."""
    table: dict[str, dict[str, Any]] = {}
    for cell, found in results:
        row = table.setdefault(
            f"{cell['rule']} {cell['architecture']}", {"cells": 0, **dict.fromkeys(MEASURES, 0.0), "worst_cell": ""}
        )
        row["cells"] += 1
        error = max(found[name] for name in ERRORS)
        if error > max(row[name] for name in ERRORS):
            row["worst_cell"] = describe(cell)
        for name in MEASURES:
            row[name] = max(row[name], found[name])
    return table


def as_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the summary as a table."""
    table = Table(title=f"Parallel form against recurrence, worst relative error in float64 (allowed {EQUAL:g})")
    table.add_column("rule and memory")
    for heading in ("cells", "outputs", "split calls", "gradients", "numpy loop", "loop's own, ulps"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        table.add_row(name, str(row["cells"]), *(f"{row[key]:.1e}" for key in MEASURES))
    return table


def main() -> None:
    """Run the grid, print the summary and write it as JSON; exit 1 where an error exceeds what is allowed."""
    parser = argparse.ArgumentParser(description="Compare the parallel form of the memory with the recurrence.")
    parser.add_argument("--every", type=int, default=1, help="run each n-th cell only")
    parser.add_argument("--port", default=REFERENCE, help="the implementation: package.module:Factory")
    options = parser.parse_args()
    if options.every < 1:
        parser.error("--every must be at least 1")
    torch.set_num_threads(1)
    port, before = load_port(options.port), machine(1)
    # A port of the parallel form alone, as the kernels are, is set against the reference.
    recurrence = port if Op.MEMORY_SCAN in port.declare().operations else load_port(REFERENCE)
    chosen = [(seed, cell) for seed, cell in enumerate(cells()) if seed % options.every == 0 and declared(port, cell)]
    results = []
    for seed, cell in chosen:
        # A port may know fewer sizes of a memory that it declares.
        with suppress(UndeclaredError):
            results.append((cell, measure(port, recurrence, cell, seed)))
    rows = worst_by_kind(results)
    print_table(as_table(rows))
    path = write_results("equivalence", {"machine": before, "allowed": EQUAL, "every": options.every, "worst": rows})
    print(f"wrote {path}")
    if any(row[name] > EQUAL for row in rows.values() for name in ERRORS):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

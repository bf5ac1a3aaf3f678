"""What a port pays for living in another process: milliseconds a case beside the same port in this one.

    python -m benchmarks.port_overhead [--cases 2000]

The port is the smallest there is (`l2_normalize` in numpy), so what is measured is the harness: writing and reading the
tensor files, the two lines of the protocol, and the switches between processes. Cases of both sides take turns in
rounds, so that whatever else the machine does falls on both; the start of the program is given apart. Allowed: 2 ms.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping
from statistics import median
from time import perf_counter
from typing import Final

from rich.table import Table

from benchmarks.report import machine, print_table, write_results
from spec_tests.contract.driver import ask, prepare
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.process.client import ProcessPort
from spec_tests.process.example import ExamplePort

ROUND: Final = 50
ALLOWED_MS: Final = 2.0
SHAPES: Final = {"tiny": (3, 4), "1 MiB": (2048, 128)}
PROGRAM: Final = shlex.join(
    [sys.executable, "-m", "spec_tests.process.server", "spec_tests.process.example:ExamplePort"]
)


def seconds_a_case(port: Port, given: Mapping[str, Array], cases: int) -> float:
    """Return the mean time of a case, the driver's own checks of form included."""
    start = perf_counter()
    for _ in range(cases):
        ask(port, Op.L2_NORMALIZE, {"eps": 0.5}, given, Numerics.F32)
    return (perf_counter() - start) / cases


def measure(shape: tuple[int, int], cases: int) -> dict[str, float]:
    """Return mean and median of rounds for both sides, in ms a case, and the program's start in ms."""
    given = prepare(Op.L2_NORMALIZE, Numerics.F32, {"x": generator(1).standard_normal(shape)}, {"eps": 0.5})
    inside = ExamplePort()
    with ProcessPort(PROGRAM) as outside:
        start = perf_counter()
        outside.declare()
        started = perf_counter() - start
        rounds: dict[str, list[float]] = {"inside": [], "outside": []}
        for _ in range(cases // ROUND):
            rounds["inside"].append(1e3 * seconds_a_case(inside, given, ROUND))
            rounds["outside"].append(1e3 * seconds_a_case(outside, given, ROUND))
    means = {name: sum(times) / len(times) for name, times in rounds.items()}
    return {
        **means,
        "overhead": means["outside"] - means["inside"],
        "overhead_median": median(rounds["outside"]) - median(rounds["inside"]),
        "start": 1e3 * started,
    }


def main() -> None:
    """Measure, print and write the results; exit 1 where a tiny case costs more than is allowed."""
    parser = argparse.ArgumentParser(description="Measure what a case in another process costs.")
    parser.add_argument("--cases", type=int, default=2000, help="cases a side and shape")
    cases = max(parser.parse_args().cases, ROUND)
    results = {name: measure(shape, cases) for name, shape in SHAPES.items()}
    table = Table(title=f"A case in another process, ms ({cases} cases; allowed {ALLOWED_MS:g})")
    table.add_column("inputs")
    for heading in ("in process", "out of process", "overhead", "median overhead", "start of the program"):
        table.add_column(heading, justify="right")
    for name, row in results.items():
        table.add_row(name, *(f"{value:.2f}" for value in row.values()))
    print_table(table)
    path = write_results("port_overhead", {"machine": machine(threads=1), "cases": cases, "ms": results})
    print(f"written to {path}")
    sys.exit(results["tiny"]["overhead"] > ALLOWED_MS)


if __name__ == "__main__":
    main()

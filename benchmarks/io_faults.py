"""Let every call of the operating system fail, at every occurrence and with every error, and see what is lost.

    python -m benchmarks.io_faults [--every 1] [--jobs 2]

A micro model trains for three steps, with a checkpoint at each, a validation and two removals. Each trial lets one call
below its directory fail once (`spec_tests.package.damage.io_faults`); then the run goes on without a fault. It is wrong
when a checkpoint that was said to be saved is gone or damaged, when the error names no file, when the run does not go
on to the same tensors and log, byte for byte, or when it ended although the call only removes an old checkpoint.
`--every N` tries each Nth fault. The exit code is 1 if any trial is wrong.
"""

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.table import Table

from benchmarks.report import print_table, write_results
from spec_tests.package.damage.io_faults import CALLS, ERRORS, Call, Fault, Verdict, dispensable, occurrences, tried


def attempt(folder: Path, seen: dict[Call, list[str]], fault: Fault) -> tuple[Fault, Verdict]:
    """Try one fault beside the whole run in `folder`."""
    torch.set_num_threads(1)
    verdict = tried(
        fault, folder / "whole", folder / f"{fault.call}-{fault.occurrence}-{fault.error}".replace(" ", "-")
    )
    name = seen[fault.call][fault.occurrence - 1]
    if verdict.wrong is None and verdict.ended != "went on" and dispensable(fault.call, name):
        verdict = verdict._replace(wrong="ended a run that could go on")
    return fault, verdict


def table_of(results: list[tuple[Fault, Verdict]]) -> Table:
    """Return how the runs ended, by call and error."""
    table = Table(title="One call fails: runs that went on / ended in one sentence / were wrong")
    table.add_column("call")
    for error in (*ERRORS, "in all"):
        table.add_column(error, justify="right")
    count: Counter[tuple[str, str, str]] = Counter()
    for fault, verdict in results:
        ended = verdict.ended if verdict.wrong is None else "wrong"
        for row in (fault.call, "in all"):
            for column in (fault.error, "in all"):
                count[row, column, ended] += 1
    for call in (*CALLS, "in all"):
        cells = (
            " / ".join(str(count[call, column, ended]) for ended in ("went on", "one sentence", "wrong"))
            for column in (*ERRORS, "in all")
        )
        table.add_row(call, *cells)
    return table


def main() -> None:
    """Try the grid and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        seen = occurrences(folder)
        grid = [
            Fault(call, occurrence, error)
            for call in CALLS
            for occurrence in range(1, len(seen[call]) + 1)
            for error in ERRORS
        ][:: options.every]
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(partial(attempt, folder, seen), grid, chunksize=4))
    print_table(table_of(results))
    bad = [(fault, verdict.wrong) for fault, verdict in results if verdict.wrong is not None]
    for fault, wrong in bad:
        print(f"{fault.call} {fault.occurrence} ({seen[fault.call][fault.occurrence - 1]}), {fault.error}: {wrong}")
    print(f"{len(results)} faults, {len(bad)} wrong")
    write_results("io_faults", [{**fault._asdict(), **verdict._asdict()} for fault, verdict in results])
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

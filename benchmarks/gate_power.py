"""What a verdict of the gates says about the run behind it: does what passes learn, and does what learns pass?

    python -m benchmarks.gate_power [--jobs 1] [--seconds S] [--lines FILE] [--only GROUP ...] [--limit N] [--report]

Configurations of every family (`gate_power_cases`) are examined by their gates, trained, and trained without memory
(`gate_power_runs`); each part is a process of one thread and a line of FILE, and what is there already is not made
again. Learned is what beats its twin on held-out batches by a margin whose interval excludes 0 (`gate_power_tables`).
`--seconds` stops a study where it is, `--report` makes the tables and the picture of the lines that there are.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.gate_power_cases import GROUPS, Case, cases
from benchmarks.gate_power_runs import PARTS, Part, work
from benchmarks.gate_power_tables import Lines, draw, tables
from benchmarks.report import RESULTS, machine, write_results

LINES = RESULTS / "gate_power.jsonl"
PICTURE = Path("docs/images/gate-power.png")


def read_lines(path: Path) -> Lines:
    """Return the lines of a study by case and part; of a line that a cut left unfinished, nothing."""
    found: Lines = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[line["case"], line["part"]] = line
    return found


def make(parts: Sequence[Part], path: Path, jobs: int, seconds: float) -> None:
    """Make parts in processes of one thread and write the line of each as it ends, for at most so many seconds."""
    # Idle OpenMP threads wait in a loop: one thread a process lets several share a machine.
    os.environ["OMP_NUM_THREADS"] = "1"
    path.parent.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    # To leave the pool ends its processes, whatever they are at.
    with path.open("a") as file, multiprocessing.get_context("spawn").Pool(jobs) as pool:
        made = pool.imap_unordered(work, parts, chunksize=1)
        for number in range(len(parts)):
            try:
                line = made.next(max(0.0, seconds - (perf_counter() - started)))
            except multiprocessing.TimeoutError:
                print(f"{len(parts) - number} parts are left", file=sys.stderr, flush=True)
                return
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(f"{line['case']} {line['part']}: {line['seconds']:.0f} s", file=sys.stderr, flush=True)


def chosen(groups: Sequence[str], limit: int | None) -> list[Case]:
    """Return the cases of some groups, at most `limit`."""
    return [case for case in cases() if case.group in groups][:limit]


def main() -> None:
    """Make what is missing, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description="Ask what the verdict of the gates says about the run behind it.")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, of one thread each")
    parser.add_argument("--seconds", type=float, default=1e6, help="the study ends after these")
    parser.add_argument("--lines", type=Path, default=LINES, metavar="FILE", help="where the lines are")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--limit", type=int, help="the first so many configurations")
    parser.add_argument("--report", action="store_true", help="make nothing, tell what is there")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE", help="where the picture goes")
    options = parser.parse_args()
    before, found = machine(1), chosen(options.only, options.limit)
    if not options.report:
        lines = read_lines(options.lines)
        missing = [Part(case, part) for case in found for part in PARTS if (case.name, part) not in lines]
        make(missing, options.lines, options.jobs, options.seconds)
    lines = read_lines(options.lines)
    told = tables(found, lines)
    print(told.text)
    draw(told, options.picture)
    write_results("gate_power", {"machine": before, "jobs": options.jobs, "cases": told.rows})


if __name__ == "__main__":
    main()

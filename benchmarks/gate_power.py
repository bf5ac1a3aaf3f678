"""What a verdict of the gates says about the run behind it: does what passes learn, and does what learns pass?

    python -m benchmarks.gate_power [--draws 0] [--jobs 1] [--seconds S] [--lines FILE ...] [--only GROUP ...]
                                    [--limit N] [--report]

Configurations of every family (`gate_power_cases`) are examined by their gates, trained, and trained without memory
(`gate_power_runs`); each part is a process of one thread and a line of FILE, and what is there already is not made
again. Learned is what beats its twin on held-out batches by a margin whose interval excludes 0 (`gate_power_verdicts`);
a run that is too bad to have learned, whatever its twin is, gets none. Draw 0 was tuned on, in one half, and has the
gates as they were beside them; draws 1 to 4 were tuned on since; draw 5 judged the gates of today, and later draws are
fresh. `--seconds` stops a study where it is, `--report` makes the tables and the picture of the lines that there are,
of several files where they are given.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

from benchmarks.gate_power_cases import GROUPS, HALVES, Case, cases
from benchmarks.gate_power_runs import PARTS, Part, work
from benchmarks.gate_power_tables import draw, tables
from benchmarks.gate_power_verdicts import EARLIER, LIFE, RUN, TWIN, Lines, hopeless, outdated
from benchmarks.report import RESULTS, machine, write_results

LINES = RESULTS / "gate_power.jsonl"
PICTURE = Path("docs/images/gate-power.png")


def read_lines(*paths: Path) -> Lines:
    """Return the lines of a study by case and part; of a line that a cut left unfinished, nothing."""
    found: Lines = {}
    for text in (line for path in paths if path.exists() for line in path.read_text().splitlines()):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[line["case"], line["part"]] = line
    return found


def missing(found: Sequence[Case], lines: Lines) -> list[Part]:
    """Return the parts that can be made now, twins first, so that a study that is cut has whole cases.

    Whether a twin is needed is known when its run is there; the gates as they were are asked in the first draw alone.
    """
    absent = [Part(case, part) for case in found for part in PARTS if (case.name, part) not in lines]
    twins = [
        each
        for each in absent
        if each.part == TWIN and (each.case.name, RUN) in lines and not hopeless(each.case, lines)
    ]
    lives = [each for each in absent if each.part == LIFE and outdated(each.case, lines)]
    others = [each for each in absent if each.part not in (TWIN, EARLIER, LIFE)]
    return lives + twins + others + [each for each in absent if each.part == EARLIER and each.case.half in HALVES]


def make(found: Sequence[Case], lines: Lines, path: Path, jobs: int, seconds: float) -> None:
    """Make what is missing in processes of one thread and add the line of each to `lines` and a file as it ends."""
    # Idle OpenMP threads wait in a loop: one thread a process lets several share a machine.
    os.environ["OMP_NUM_THREADS"] = "1"
    path.parent.mkdir(parents=True, exist_ok=True)
    started, ended = perf_counter(), SimpleQueue[dict[str, Any] | BaseException]()
    running: set[tuple[str, str]] = set()
    # To leave the pool ends its processes, whatever they are at.
    with path.open("a") as file, multiprocessing.get_context("spawn").Pool(jobs) as pool:
        while (waiting := [part for part in missing(found, lines) if part.key not in running]) or running:
            for part in waiting[: jobs - len(running)]:
                pool.apply_async(work, (part,), callback=ended.put, error_callback=ended.put)
                running.add(part.key)
            try:
                line = ended.get(timeout=max(0.0, seconds - (perf_counter() - started)))
            except Empty:
                print("the time is up", file=sys.stderr, flush=True)
                return
            if isinstance(line, BaseException):
                raise line
            key = line["case"], line["part"]
            running.remove(key)
            lines[key] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(f"{line['case']} {line['part']}: {line['seconds']:.0f} s", file=sys.stderr, flush=True)


def chosen(draws: Sequence[int], groups: Sequence[str], limit: int | None) -> list[Case]:
    """Return the cases of some groups, at most `limit` of each draw."""
    return [case for seed in draws for case in [each for each in cases(seed) if each.group in groups][:limit]]


def main() -> None:
    """Make what is missing, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description="Ask what the verdict of the gates says about the run behind it.")
    parser.add_argument("--draws", nargs="+", type=int, default=[0], metavar="SEED", help="of the covering")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, of one thread each")
    parser.add_argument("--seconds", type=float, default=1e6, help="the study ends after these")
    parser.add_argument("--lines", nargs="+", type=Path, default=[LINES], metavar="FILE", help="the first is added to")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--limit", type=int, help="the first so many configurations")
    parser.add_argument("--report", action="store_true", help="make nothing, tell what is there")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE", help="where the picture goes")
    options = parser.parse_args()
    before, found = machine(1), chosen(options.draws, options.only, options.limit)
    lines = read_lines(*options.lines)
    if not options.report:
        make(found, lines, options.lines[0], options.jobs, options.seconds)
    told = tables(found, lines)
    print(told.text)
    draw(told, options.picture)
    write_results("gate_power", {"machine": before, "jobs": options.jobs, "cases": told.rows})


if __name__ == "__main__":
    main()

"""Kill training with SIGKILL at random moments and go on: every run must end as if nothing had happened.

    python -m benchmarks.kill_and_resume [--kills 50] [--seed 0]

Each trial is a new run of a micro model through the command line, in a process of its own, that is killed and started
again with `--resume auto` until it ends. Most first kills come at a place drawn from all that the uninterrupted run
passes: before, in the middle of and after each write, rename, sync and removal, and around each training step; every
fifth comes from outside, at a random time after the first step. A trial is killed again, at a new random place, with
probability 1/2. Exact means: the same weights, optimiser, memory state and log, byte for byte except for the clock,
and the same checkpoints with the same `latest` and `best`. The exit code is 1 unless every trial is.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from atlas_ref.storage.metrics_log import TIMING
from benchmarks.report import machine, print_table, write_results
from spec_tests.package.micro.runs import MICRO

WORKER = "spec_tests.package.damage.killed_process"
REASON = "a micro model is too small to pass the gates"
NEVER = 0
CHANGES = (
    *MICRO,
    "model.attention.persistent_tokens=4",
    "train.max_steps=12",
    "train.log_interval=1",
    "train.eval_interval=2",
    "train.eval_batches=1",
    "train.keep_last=2",
)
FIELDS = tuple({change.partition("=")[0]: change for change in CHANGES}.values())
"""The last of two values for a field counts; the command line takes one."""


class Trial(NamedTuple):
    """Where one run was killed, and how it differs from the uninterrupted one."""

    kills: list[str]
    differences: list[str]


def command(folder: Path, number: int) -> list[str]:
    """Return the command that trains in `folder/run`, or goes on there, and dies at place `number`."""
    changes = [part for field in FIELDS for part in ("--set", field)]
    options = ["--config", "tiny", *changes, "--out", str(folder / "run"), "--resume", "auto"]
    worker = [sys.executable, "-m", WORKER, str(number), str(folder / "trace")]
    return [*worker, "train", *options, "--skip-preflight", REASON]


def attempt(folder: Path, number: int, delay: float | None = None) -> bool:
    """Make one start; return whether it was killed. `delay` is the time from the first step to a kill from outside.

    Raises RuntimeError, with its words, when the process ends in any other way than by the kill or by being done.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command(folder, number), env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        if delay is not None:
            assert process.stdout is not None
            next((line for line in process.stdout if line.startswith("step ")), None)
            time.sleep(delay)
            process.kill()
        _, err = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL) or err:
        raise RuntimeError(f"a start ended with exit code {process.returncode}: {err}")
    return process.returncode != 0


def outcome(run: Path) -> dict[str, Any]:
    """Return what must be equal: the log without the clock, and everything below `checkpoints`."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    log = [{key: value for key, value in line.items() if key not in TIMING} for line in lines]
    saved = run / "checkpoints"
    files = {str(file.relative_to(saved)): file.read_bytes() for file in saved.rglob("*") if file.is_file()}
    return {"metrics.jsonl": log, **files}


def make_trial(folder: Path, expected: dict[str, Any], draw: random.Random, places: int, outside: float) -> Trial:
    """Make one run that is killed at least once; `outside` is the longest delay of a kill from outside, or 0."""
    kills: list[str] = []
    while not kills:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        delay = draw.uniform(0.0, outside) if outside else None
        number = NEVER if outside else draw.randint(1, places)
        while attempt(folder, number, delay):
            passed = (folder / "trace").read_text().splitlines()[-1]
            kills.append(f"from outside, when the last place was: {passed}" if delay is not None else passed)
            delay, number = None, draw.randint(1, places) if draw.random() < 0.5 else NEVER
    found = outcome(folder / "run")
    return Trial(
        kills, sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    )


def kind_of(place: str) -> str:
    """Return a place without the names and numbers in it."""
    if place.startswith("from outside"):
        return "from outside, at a random time"
    words = place.split()
    return " ".join(words if "log" in words else words[:3] if words[0] == "half" else words[:2])


def table_of(trials: list[Trial]) -> Table:
    """Return the kills by kind of place."""
    table = Table(title="SIGKILL during training, then --resume auto")
    table.add_column("killed")
    table.add_column("times", justify="right")
    table.add_column("in runs that ended exactly", justify="right")
    times = Counter(kind_of(place) for trial in trials for place in trial.kills)
    exact = Counter(kind_of(place) for trial in trials if not trial.differences for place in trial.kills)
    for kind, count in sorted(times.items()):
        table.add_row(kind, str(count), str(exact[kind]))
    return table


def run_trials(kills: int, draw: random.Random, folder: Path) -> list[Trial]:
    """Make the uninterrupted run, then all trials, saying how each ended."""
    (folder / "whole").mkdir()
    began = time.monotonic()
    attempt(folder / "whole", NEVER)
    seconds = time.monotonic() - began
    expected = outcome(folder / "whole" / "run")
    places = len((folder / "whole" / "trace").read_text().splitlines())
    print(f"uninterrupted: {places} places, {seconds:.1f} s")
    trials = []
    for number in range(1, kills + 1):
        # Most of a start is imports; the steps themselves take about a fifth of it.
        trials.append(make_trial(folder / "trial", expected, draw, places, 0.2 * seconds if number % 5 == 0 else 0.0))
        ended = "exact" if not trials[-1].differences else f"DIFFERS in {', '.join(trials[-1].differences)}"
        print(f"{number:3d}  {ended}  killed: {'; '.join(trials[-1].kills)}", flush=True)
    return trials


def main() -> int:
    """Make all trials, print them by kind of place, write them as JSON; return 1 unless all were exact."""
    parser = argparse.ArgumentParser(description="Kill training at random moments and compare where it ends.")
    parser.add_argument("--kills", type=int, default=50, help="runs, each killed at least once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    before = machine(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        trials = run_trials(options.kills, random.Random(options.seed), Path(folder))
    exact = sum(not trial.differences for trial in trials)
    kills = sum(len(trial.kills) for trial in trials)
    print_table(table_of(trials))
    print(f"{exact}/{len(trials)} runs exact, after {kills} kills")
    results = {"machine": before, "seed": options.seed, "exact": exact, "trials": [trial._asdict() for trial in trials]}
    print(f"wrote {write_results('kill_and_resume', results)}")
    return 0 if exact == len(trials) else 1


if __name__ == "__main__":
    sys.exit(main())

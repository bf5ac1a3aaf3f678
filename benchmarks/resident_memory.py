"""Resident memory over training: a run that leaks nothing is as large after 300 steps as after 100.

    python -m benchmarks.resident_memory [--preset tiny] [--first 100] [--last 300]

The process trains the preset on the shipped text through the training loop, with log, validation and checkpoints, and
reads its own resident size, the current one and not the peak, after each step (/proc/self/statm, so Linux only). What
is compared is the median over the ten steps that end at each mark, as single readings move with the allocator. The
exit code is 1 when the growth is more than 2%.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from rich.table import Table

from atlas_ref.config import load_config
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from benchmarks.report import machine, print_table, write_results

ALLOWED = 0.02
READINGS = 10
MIB = 1024 * 1024


def resident_mib() -> float:
    """Return the resident size of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


class Recorder:
    """A reporter that reads the resident size after each step and says nothing."""

    def __init__(self) -> None:
        self.sizes: dict[int, float] = {}

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Read it."""
        self.sizes[step] = resident_mib()

    def on_metrics(self, step: int, values: dict[str, float]) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def at(self, step: int) -> float:
        """Return the median of the last readings up to a step."""
        return statistics.median(self.sizes[n] for n in range(step - READINGS + 1, step + 1))


def measure(preset: str, steps: int, threads: int) -> Recorder:
    """Train a preset for `steps` steps in a temporary directory."""
    overrides = [f"train.max_steps={steps}", f"train.threads={threads}", "train.device='cpu'"]
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        ready = get_ready(load_config(preset, overrides), RunDirectory(Path(folder, "run")), None, over_unsaved=False)
        train(ready, Admission(None, "a measurement of memory"), recorder, lambda: False)
    return recorder


def main() -> int:
    """Measure, print the sizes, write them as JSON; return 1 when the process grew by more than 2%."""
    parser = argparse.ArgumentParser(description="Measure the resident size of a training process over its steps.")
    parser.add_argument("--preset", default="tiny", help="what to train")
    parser.add_argument("--first", type=int, default=100, help="the step to compare with")
    parser.add_argument("--last", type=int, default=300, help="the last step")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    if not READINGS <= options.first < options.last:
        parser.error(f"--first must be at least {READINGS} and less than --last")
    before = machine(options.threads)
    recorder = measure(options.preset, options.last, options.threads)
    first, last = recorder.at(options.first), recorder.at(options.last)
    growth = last / first - 1
    table = Table(title=f"Resident memory over training, {options.preset}")
    for heading in ("step", "MiB", f"since step {options.first}"):
        table.add_column(heading, justify="right")
    for step in range(options.first, options.last + 1, max(1, (options.last - options.first) // 8)):
        table.add_row(str(step), f"{recorder.at(step):,.1f}", f"{recorder.at(step) / first - 1:+.2%}")
    print_table(table)
    print(f"step {options.last} against step {options.first}: {growth:+.2%}, allowed {ALLOWED:.0%}")
    results = {"machine": before, "preset": options.preset, "growth": growth, "mib_by_step": recorder.sizes}
    print(f"wrote {write_results('resident_memory', results)}")
    return 0 if growth <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())

"""Whole training runs of the command line, as processes of their own, several at a time where asked for.

A study is a list of runs that differ in a few fields of one preset. Each is `atlas train` with `--set`, so what is
measured is what anybody gets who trains with these settings.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas_ref.storage.metrics_log import read_metrics
from benchmarks.report import RESULTS

UNEXAMINED = "a study trains variants that no gate would let start, such as models without memory"


@dataclass(frozen=True)
class TrainingRun:
    """One run of a preset: a name that is unique in its study, and the fields that it changes."""

    study: str
    name: str
    preset: str
    overrides: tuple[str, ...]

    @property
    def directory(self) -> Path:
        """The run directory."""
        return RESULTS / self.study / self.name

    @property
    def command(self) -> list[str]:
        """The command line that makes the run."""
        changes = [part for override in self.overrides for part in ("--set", override)]
        return [
            sys.executable,
            "-m",
            "cli.main",
            "train",
            "--config",
            self.preset,
            *changes,
            "--out",
            f"{self.directory}",
            "--skip-preflight",
            UNEXAMINED,
        ]


@dataclass(frozen=True)
class Result:
    """The log of a run and its summary."""

    metrics: list[dict[str, Any]]
    summary: dict[str, Any]

    def validation(self, key: str) -> list[tuple[int, float]]:
        """Return (step, value) of each validation, for `loss` or `accuracy`."""
        return [(line["step"], line[f"val/{key}"]) for line in self.metrics if f"val/{key}" in line]


def run_all(
    runs: Iterable[TrainingRun], threads: int, jobs: int, *, go_on: bool = False
) -> Iterator[tuple[TrainingRun, Result]]:
    """Make all runs, `jobs` at a time with `threads` each, and yield each with its result as it ends."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(_train, run, threads, go_on): run for run in runs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def launch(run: TrainingRun, threads: int, *, go_on: bool = False) -> subprocess.CompletedProcess[str]:
    """Make one run, anew or from its newest checkpoint, and return how its process ended."""
    if not go_on:
        shutil.rmtree(run.directory, ignore_errors=True)
    resume = ("--resume", "auto") if go_on else ()
    # Idle OpenMP threads wait in a loop: one thread a process lets several runs share a machine.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(
        [*run.command, *resume, "--threads", str(threads)], env=environment, capture_output=True, text=True, check=False
    )


def _train(run: TrainingRun, threads: int, go_on: bool) -> Result:
    """Make one run; RuntimeError with its own words if it fails."""
    done = launch(run, threads, go_on=go_on)
    if done.returncode != 0:
        raise RuntimeError(f"{run.name} ended with exit code {done.returncode}: {done.stderr.strip()}")
    summary: dict[str, Any] = json.loads((run.directory / "summary.json").read_text())
    return Result(read_metrics(run.directory / "metrics.jsonl"), summary)

"""Loss on the shipped text of memories that are trained in chunks of one length and served in chunks of another.

    python -m benchmarks.train_and_serve [--seeds 0 1 2] [--steps 400] [--device cpu] [--threads 1] [--jobs 1]

A smaller `tiny`, small enough for two cores: two layers of width 64 with two heads of 32, a feed-forward of 192,
batches of four rows of 512 bytes. `atlas train` trains it in chunks of 8 and of 64, and `atlas eval --chunk` computes
its loss on the validation batches, in nats a byte, served in chunks of 1, 8 and 64:

    as trained      the steps of `mass` are divided by the chunk of training (`step_chunk`), as `atlas eval` has it
    of the served   they are divided by the chunk that is served, so that another chunk has other steps
    stage 2 in N    a second stage of a twentieth more steps in chunks of N, for every finer N: from the same weights,
                    with the steps of training; also served in the chunks of the first, where only its training counts

A cell has diverged where its loss is not finite or above that of a uniform guess, or where a kill switch ended its
training. The last column is what a cell has more than the same seed served as it was trained, in the mean.
"""

import argparse
import math
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from atlas_ref.training.evaluate import evaluate
from benchmarks.report import as_markdown, machine, write_results
from benchmarks.training_runs import UNEXAMINED, TrainingRun, launch
from cli.checkpoints import open_model
from cli.evaluate import judged
from cli.train import KILLED_EXIT_CODE

TRAINED, SERVED = (8, 64), (1, 8, 64)
"""Chunks of training and of serving."""
SMALLER = (
    "model.d_model=64",
    "model.n_heads=2",
    "model.feed_forward_dim=192",
    "model.memory.gates.fast_heads=1",
    "data.sequence_length=512",
    "train.batch_size=4",
)
"""What makes `tiny` smaller."""
KEPT, FOLLOWING = "as trained", "of the served"
UNIFORM = math.log(257)
"""Loss of a uniform guess among the bytes and the separator."""


@dataclass(frozen=True)
class Cell:
    """The chunks of training (of the first stage) and of serving, and how the steps came about."""

    trained: int
    served: int
    steps: str


def stage(chunk: int) -> str:
    """Return the name of a second stage in chunks of one length."""
    return f"stage 2 in {chunk}"


def cells() -> list[Cell]:
    """Return every cell of the table, in its order."""
    found = []
    for trained in TRAINED:
        found += [Cell(trained, served, KEPT) for served in SERVED]
        found += [Cell(trained, served, FOLLOWING) for served in SERVED if served != trained]
        found += [Cell(trained, served, stage(n)) for n in SERVED if n < trained for served in (n, trained)]
    return found


def first_stage(trained: int, seed: int, steps: int, device: str, threads: int) -> Path | None:
    """Train in chunks of one length; return the run, or None where a kill switch ended it."""
    changes = (f"model.memory.chunk={trained}", f"train.seed={seed}", f"train.max_steps={steps}")
    run = TrainingRun(
        "train-and-serve",
        f"chunk-{trained}-seed-{seed}",
        "tiny",
        (*SMALLER, *changes, f"train.device={device!r}"),
    )
    return _went_on(launch(run, threads), run.directory)


def second_stage(first: Path, chunk: int, steps: int, threads: int) -> Path | None:
    """Go on from a copy of a run in finer chunks; return the new run, or None where a kill switch ended it."""
    second = first.with_name(f"{first.name}-stage-2-in-{chunk}")
    shutil.rmtree(second, ignore_errors=True)
    shutil.copytree(first, second)
    changes = ["--set", f"stage2.steps={max(1, steps // 20)}", "--set", f"stage2.chunks=[{chunk}]"]
    going_on = [sys.executable, "-m", "cli.main", "train", "--resume", "auto", "--out", f"{second}", *changes]
    told = [*going_on, "--threads", f"{threads}", "--skip-preflight", UNEXAMINED]
    return _went_on(subprocess.run(told, capture_output=True, text=True, check=False), second)


def _went_on(done: subprocess.CompletedProcess[str], run: Path) -> Path | None:
    """Return the directory of a run that came to its end; RuntimeError for an error that is no divergence."""
    if done.returncode not in (0, KILLED_EXIT_CODE):
        raise RuntimeError(f"{run} ended with exit code {done.returncode}: {done.stderr.strip()}")
    return None if done.returncode else run


def served_loss(run: Path | None, chunk: int, steps: str) -> float:
    """Return the loss of `atlas eval --chunk`, in nats a byte; NaN where there is no model.

    With the steps of the served chunk, the model is served as if it had been trained with those.
    """
    if run is None:
        return math.nan
    opened = open_model(run, [f"model.memory.step_chunk={chunk}"] if steps == FOLLOWING else [], chunk)
    task, source, most = judged(opened, [], "validation")
    precision, step = opened.config.train.precision, opened.checkpoint.step
    return evaluate(opened.model, task, source, most, precision, step)["loss"]


def examine(steps: int, device: str, threads: int, seed: int) -> dict[Cell, float]:
    """Train and serve every cell of one seed."""
    runs: dict[tuple[int, str], Path | None] = {}
    for trained in TRAINED:
        runs[trained, KEPT] = runs[trained, FOLLOWING] = first = first_stage(trained, seed, steps, device, threads)
        for chunk in (n for n in SERVED if n < trained):
            runs[trained, stage(chunk)] = None if first is None else second_stage(first, chunk, steps, threads)
    losses = {}
    for cell in cells():
        losses[cell] = served_loss(runs[cell.trained, cell.steps], cell.served, cell.steps)
        print(f"seed {seed}, {cell.trained} -> {cell.served}, {cell.steps}: {losses[cell]:.4f}", flush=True)
    return losses


def diverged(loss: float) -> bool:
    """Return whether a loss says nothing but that something diverged."""
    return not loss <= UNIFORM


def markdown(losses: dict[Cell, list[float]]) -> str:
    """Return mean and range over seeds of every cell, and its mean difference from serving as trained."""
    lines = [["trained", "served", "steps", "mean", "lowest", "highest", "more"]]
    for cell, found in losses.items():
        bad = sum(map(diverged, found))
        numbers = [f"diverged in {bad} of {len(found)}", "", "", ""]
        if not bad:
            own = losses[Cell(cell.trained, cell.trained, KEPT)]
            more = mean(loss - base for loss, base in zip(found, own, strict=True))
            numbers = [*(f"{value:.4f}" for value in (mean(found), min(found), max(found))), f"{more:+.4f}"]
        lines.append([f"{cell.trained}", f"{cell.served}", cell.steps, *numbers])
    return as_markdown(lines)


def main() -> None:
    """Train and serve, keep the losses as JSON, print the table."""
    parser = argparse.ArgumentParser(description="Train memories in chunks of one length, serve them in another.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps of a first stage, 20 or more")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"), help="where to compute")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, each in a process")
    options = parser.parse_args()
    before = machine(options.threads)
    one = partial(examine, options.steps, options.device, options.threads)
    with ProcessPoolExecutor(options.jobs) as pool:
        seeds = list(pool.map(one, options.seeds))
    losses = {cell: [found[cell] for found in seeds] for cell in cells()}
    kept = [{**vars(cell), "losses": found} for cell, found in losses.items()]
    results = {"machine": before, "steps": options.steps, "seeds": options.seeds, "cells": kept}
    path = write_results("train_and_serve", results)
    print(markdown(losses))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""Grokking of addition mod 97 by the preset `grok-square`: when, in what phases, and what the embedding shows of it.

    python -m benchmarks.grok_square [--seeds 0 1 2] [--steps 3000] [--threads 1] [--figure FILE]

Trains the preset through the command line, one run after another; a seed is that of the weights and of the split. The
tables have the first validation (every 50 steps) with 99% in training and with 95% in validation, and each phase at its
first step; a mirrored pair is one (b, a) that is validated on where (a, b) is trained on. CPU-seconds are those of the
whole process: start, judgements and nulls included. The figure shows accuracies and phases of all seeds, and the
spectrum of the embedding of the first one at its first and last checkpoint.
"""

import argparse
import resource
from pathlib import Path
from typing import Any

import torch

from atlas_ref.config import load_config
from atlas_ref.data.arithmetic import split
from atlas_ref.metrics.grokking import spectrum
from atlas_ref.metrics.grokking_phases import NAMES
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.storage.run_directory import RunDirectory
from atlas_ref.training.run import load_model
from benchmarks.report import machine, write_results
from benchmarks.training_runs import Result, TrainingRun, run_all

KNOWN, UNDERSTOOD = 0.99, 0.95
COLOURS = ("#FFFFFF", "#E69F00", "#56B4E9", "#009E73", "#CC79A7")
"""Of the phases, for every kind of colour vision."""
Lines = list[dict[str, Any]]


def study(seed: int, steps: int) -> TrainingRun:
    """Return the run of a seed, whose checkpoints all stay."""
    changes = (f"train.seed={seed}", f"data.arithmetic.split_seed={seed}", f"train.max_steps={steps}")
    return TrainingRun("grok-square", f"seed-{seed}", "grok-square", (*changes, "train.keep_last=100"))


def examine(run: TrainingRun, threads: int) -> tuple[Result, float]:
    """Make a run and return its log and the CPU-seconds of its process."""
    before = _children()
    ((_, result),) = run_all([run], threads, jobs=1)
    return result, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judged(result: Result) -> Lines:
    """Return the lines of a log that have a phase."""
    return [line for line in result.metrics if "grokking/phase" in line]


def first(lines: Lines, key: str, least: float) -> int | None:
    """Return the first step at which a value is at least so large."""
    return next((int(line["step"]) for line in lines if line[key] >= least), None)


def phases(lines: Lines) -> Lines:
    """Return the line at which each stretch of a phase begins, in order."""
    before = 0.0
    found = []
    for line in lines:
        if line["grokking/phase"] != before:
            found.append(line)
        before = line["grokking/phase"]
    return found


def mirrored(seed: int) -> float:
    """Return the share of what is validated on whose mirror image is trained on."""
    config = load_config("grok-square", list(study(seed, 1).overrides))
    trained, held_out = split(config.data.arithmetic, config.train.batch_size)
    known = {(a, b) for a, b in trained.pairs.tolist()}
    return sum((b, a) in known for a, b in held_out.pairs.tolist()) / len(held_out.pairs)


def markdown(rows: list[list[str]]) -> str:
    """Return rows as a Markdown table, the first as its head."""
    rule = ["---"] * len(rows[0])
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def tables(found: dict[int, tuple[Lines, float]]) -> str:
    """Return when each seed knew and understood, and its phases."""
    when = [["seed", "99% in training", "95% in validation", "at the end", "mirrored pairs", "CPU-seconds"]]
    course = [["seed", "phase", "from step", "training", "validation", "concentration", "null"]]
    for seed, (lines, seconds) in found.items():
        known, understood = first(lines, "train/accuracy", KNOWN), first(lines, "val/accuracy", UNDERSTOOD)
        end = f"{lines[-1]['val/accuracy']:.3f}"
        when.append([str(seed), str(known or "never"), str(understood or "never"), end])
        when[-1] += [f"{mirrored(seed):.3f}", f"{seconds:.0f}"]
        for line in phases(lines):
            course.append([str(seed), NAMES[int(line["grokking/phase"])], str(line["step"])])
            course[-1] += [f"{line[key]:.3f}" for key in ("train/accuracy", "val/accuracy")]
            course[-1] += [f"{line[f'grokking/concentration{end}']:.3f}" for end in ("", "_null")]
    return f"{markdown(when)}\n\n{markdown(course)}"


def spectra(run: TrainingRun) -> dict[int, list[float]]:
    """Return the share of each frequency in the embedding of the first and the last checkpoint, by step."""
    checkpoints = RunDirectory(run.directory).checkpoints
    steps = sorted(saved_steps(checkpoints))
    found = {}
    for step in (steps[0], steps[-1]):
        model = load_model(find_checkpoint(checkpoints / f"step-{step:08}"), torch.device("cpu"))
        energy = spectrum(model.get_parameter("embedding.weight").detach().double())
        found[step] = (energy / energy.sum()).tolist()
    return found


def draw(found: dict[int, tuple[Lines, float]], bars: dict[int, list[float]], path: Path) -> None:
    """Draw accuracy and phase of every seed over the steps, concentration against its null, and the spectra."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(9.0, 2.0 * len(found) + 2.6), layout="constrained")
    grid = figure.add_gridspec(len(found) + 1, 2, height_ratios=[1.0] * len(found) + [1.2])
    for number, (seed, (lines, _)) in enumerate(found.items()):
        steps = [line["step"] for line in lines]
        accuracy, energy = (figure.add_subplot(grid[number, column]) for column in (0, 1))
        for axes in (accuracy, energy):
            for line, following in zip(lines, [*lines[1:], lines[-1]], strict=True):
                colour = COLOURS[int(line["grokking/phase"])]
                axes.axvspan(line["step"], following["step"], color=colour, alpha=0.35, linewidth=0)
            axes.set_xlim(0, steps[-1])
        accuracy.plot(steps, [line["train/accuracy"] for line in lines], color="0.45", label="training")
        accuracy.plot(steps, [line["val/accuracy"] for line in lines], color="black", label="validation")
        accuracy.set_ylim(0.0, 1.05)
        accuracy.set_ylabel(f"seed {seed}: accuracy")
        energy.plot(steps, [line["grokking/concentration"] for line in lines], color="black", label="embedding")
        null = [line["grokking/concentration_null"] for line in lines]
        energy.plot(steps, null, color="0.45", linestyle="--", label="99% of other orders")
        energy.set_ylabel("top 5 of 48")
        if number == 0:
            accuracy.legend(loc="lower right", fontsize=8)
            energy.legend(loc="upper left", fontsize=8)
        if number == len(found) - 1:
            for axes in (accuracy, energy):
                axes.set_xlabel("optimiser step")
    below = figure.add_subplot(grid[len(found), :])
    for (step, shares), (shift, colour) in zip(bars.items(), ((-0.2, "0.6"), (0.2, "#0072B2")), strict=True):
        at = [frequency + shift for frequency in range(1, len(shares) + 1)]
        below.bar(at, shares, width=0.4, color=colour, label=f"step {step:,}")
    below.set_xlabel(f"frequency in the embedding of the numbers, seed {next(iter(found))}")
    below.set_ylabel("share of energy")
    below.legend(fontsize=8)
    patches = [Patch(color=COLOURS[index], alpha=0.35, label=NAMES[index]) for index in range(1, len(NAMES))]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Train, print, draw and keep."""
    parser = argparse.ArgumentParser(description="Train grok-square on several seeds and tell its phases.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and split")
    parser.add_argument("--steps", type=int, default=3000, help="steps of each run")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/grokking.png"), help="where the figure goes")
    options = parser.parse_args()
    before, found = machine(options.threads), dict[int, tuple[Lines, float]]()
    for seed in options.seeds:
        result, seconds = examine(study(seed, options.steps), options.threads)
        found[seed] = judged(result), seconds
        print(f"seed {seed}: {seconds:.0f} CPU-seconds", flush=True)
    rows = [{"seed": seed, "cpu_seconds": seconds, "log": lines} for seed, (lines, seconds) in found.items()]
    path = write_results("grok_square", {"machine": before, "steps": options.steps, "rows": rows})
    draw(found, spectra(study(options.seeds[0], options.steps)), options.figure)
    print(tables(found))
    print(f"wrote {path} and {options.figure}")


if __name__ == "__main__":
    main()

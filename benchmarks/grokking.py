"""Grokking of modular arithmetic, recipe by recipe: when a network knows, when it understands, in what phases.

    python -m benchmarks.grokking [--recipe NAME ...] [--seeds 0 1 2] [--steps N] [--device cpu] [--threads 1] [--kept]

Trains a recipe through the command line, one run after another; a seed is that of the weights and of the split. The
tables have the first validation with 99% in training and with 95% in validation, and each phase at its first step, with
what the embedding of the numbers shows of it; a mirrored pair is one (b, a) that is validated on where (a, b) is
trained on, and `by the source` is the latest phase by the thresholds of the source system. CPU-seconds are those of the
whole process: start, judgements and nulls included. What was measured goes to runs/benchmarks/grokking/NAME-SEED.json,
which `--kept` tells again and `python -m benchmarks.grokking_figure` draws.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from atlas_ref.config import load_config
from atlas_ref.data.arithmetic import split
from atlas_ref.metrics.grokking_phases import NAMES, History, grokking_phases
from atlas_ref.models.registry import family_of
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.storage.run_directory import RunDirectory
from atlas_ref.training.run import load_model
from atlas_ref.watching.grokking import KEYS
from benchmarks.report import RESULTS, as_markdown, machine, write_results
from benchmarks.training_runs import TrainingRun, run_all

KNOWN, UNDERSTOOD = 0.99, 0.95
FILTERED = ("optim.name=grokfast", "optim.mugrokfast.qk_clip=0.0")
RECIPES = {
    "grok-square": ("grok-square", ()),
    "grok-mlp": ("grok-mlp", ()),
    "grok-mlp-grokfast": ("grok-mlp", (*FILTERED, "optim.mugrokfast.alpha=0.98", "optim.mugrokfast.strength=2.0")),
    "grok-perp": ("grok-perp", ()),
    "grok-perp-without": ("grok-perp", ("optim.mugrokfast.perp_grad=false", "train.max_steps=1000")),
    "grok-transformer": ("grok-transformer", ()),
}
"""Preset and changes: Grokfast at the weight decay of its preset, and perp-grad left out of its recipe."""
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """What was measured of a run: its log where it has phases, its cost, and the embedding as each phase began."""

    recipe: str
    seed: int
    cpu_seconds: float
    seconds: float
    mirrored: float
    log: Lines
    embeddings: dict[int, list[list[float]]]


def study(recipe: str, seed: int, more: tuple[str, ...] = ()) -> TrainingRun:
    """Return the run of a recipe and a seed, which keeps a checkpoint of every validation."""
    preset, changes = RECIPES[recipe]
    seeds = (f"train.seed={seed}", f"data.arithmetic.split_seed={seed}")
    every = load_config(preset, [*changes, *more]).train.eval_interval
    kept = (f"train.save_interval={every}", "train.keep_last=1000", "train.keep_best=false")
    return TrainingRun("grokking", f"{recipe}-{seed}", preset, (*changes, *seeds, *kept, *more))


def examine(recipe: str, seed: int, more: tuple[str, ...], threads: int) -> Found:
    """Make a run and return what it shows."""
    run, before, began = study(recipe, seed, more), _children(), time.monotonic()
    ((_, result),) = run_all([run], threads, jobs=1)
    cpu, wall = _children() - before, time.monotonic() - began
    lines = [line for line in result.metrics if "grokking/phase" in line]
    return Found(recipe, seed, cpu, wall, mirrored(run), lines, embeddings(run, lines))


def kept(recipe: str, seed: int) -> str:
    """Return the name of the file of a run below runs/benchmarks."""
    return f"grokking/{recipe}-{seed}"


def read(recipe: str, seed: int) -> Found:
    """Return what was kept of a run; end with a sentence where nothing was."""
    path = RESULTS / f"{kept(recipe, seed)}.json"
    if not path.exists():
        sys.exit(f"{path} is missing: python -m benchmarks.grokking --recipe {recipe} --seeds {seed} makes it")
    found = json.loads(path.read_text())
    tables_of = {int(step): rows for step, rows in found["embeddings"].items()}
    return Found(**{field.name: found[field.name] for field in fields(Found)} | {"embeddings": tables_of})


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


def mirrored(run: TrainingRun) -> float:
    """Return the share of what is validated on whose mirror image is trained on."""
    config = load_config(run.preset, list(run.overrides))
    trained, held_out = split(config.data.arithmetic, config.train.batch_size)
    known = {(a, b) for a, b in trained.pairs.tolist()}
    return sum((b, a) in known for a, b in held_out.pairs.tolist()) / len(held_out.pairs)


def embeddings(run: TrainingRun, lines: Lines) -> dict[int, list[list[float]]]:
    """Return the embedding of the numbers at the first checkpoint, at the first of each phase, and at the last."""
    checkpoints = RunDirectory(run.directory).checkpoints
    config = load_config(run.preset, list(run.overrides))
    saved = sorted(saved_steps(checkpoints))
    begun = {line["grokking/phase"]: int(line["step"]) for line in reversed(lines)}
    found = {}
    for step in sorted({saved[0], saved[-1], *begun.values()} & set(saved)):
        model = load_model(find_checkpoint(checkpoints / f"step-{step:08}"), torch.device("cpu"))
        table = family_of(config.any_model).embedding(model.state_dict(), config.any_model)
        # Six digits are more than a picture has.
        rows = table[: config.data.arithmetic.modulus].tolist()
        found[step] = [[float(f"{value:.6g}") for value in row] for row in rows]
    return found


def by_the_source(lines: Lines) -> str:
    """Return the latest phase that the thresholds of the source system see in a run."""
    columns = [torch.tensor([line[key] for line in lines], dtype=torch.float64) for key in KEYS]
    return NAMES[int(grokking_phases(History(columns[0].long(), *columns[1:]), "source").max())]


def tables(found: list[Found]) -> str:
    """Return when each run knew and understood, and its phases."""
    head = ["recipe", "seed", "99% in training", "95% in validation", "at the end", "mirrored pairs"]
    when, course = (
        [[*head, "by the source", "CPU-seconds"]],
        [["recipe", "seed", "phase", "from step", "training", "validation", "concentration", "null"]],
    )
    for each in found:
        known, understood = first(each.log, "train/accuracy", KNOWN), first(each.log, "val/accuracy", UNDERSTOOD)
        last = each.log[-1]
        end = f"{last['val/accuracy']:.3f} at {last['step']}"
        row = [each.recipe, str(each.seed), str(known or "never"), str(understood or "never"), end]
        when.append([*row, f"{each.mirrored:.3f}", by_the_source(each.log), f"{each.cpu_seconds:.0f}"])
        for line in phases(each.log):
            row = [each.recipe, str(each.seed), NAMES[int(line["grokking/phase"])], str(line["step"])]
            keys = ("train/accuracy", "val/accuracy", "grokking/concentration", "grokking/concentration_null")
            course.append([*row, *(f"{line[key]:.3f}" for key in keys)])
    return f"{as_markdown(when)}\n\n{as_markdown(course)}"


def main() -> None:
    """Train, print and keep."""
    parser = argparse.ArgumentParser(description="Train recipes of grokking on several seeds and tell their phases.")
    parser.add_argument("--recipe", nargs="+", choices=list(RECIPES), default=["grok-square"], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and split")
    parser.add_argument("--steps", type=int, help="steps of each run; left out: those of the recipe")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--kept", action="store_true", help="train nothing, tell what was kept before")
    options = parser.parse_args()
    more = (f"train.device={options.device}", *([f"train.max_steps={options.steps}"] if options.steps else []))
    asked = [(recipe, seed) for recipe in options.recipe for seed in options.seeds]
    if not options.kept:
        for recipe, seed in asked:
            before = machine(options.threads)
            found = examine(recipe, seed, more, options.threads)
            written = write_results(kept(recipe, seed), {"machine": before, "device": options.device, **asdict(found)})
            print(f"{recipe}, seed {seed}: {found.cpu_seconds:.0f} CPU-seconds; wrote {written}", flush=True)
    print(tables([read(recipe, seed) for recipe, seed in asked]))


if __name__ == "__main__":
    main()

"""Associative recall beyond the attention window: which memories learn it, on every seed.

    python -m benchmarks.recall_study [--variants "omega c=1" ...] [--chunks 16 64] [--seeds 0 1 2] [--steps 200]
                                      [--threads 1] [--jobs 1] [--go-on]

Trains the preset `recall` through the command line, with few fields changed: same task and steps for all, and the same
parameters but where a variant has narrower keys. The blocks (`block ...`) are compared among each other, with segments
of 16 tokens, as windows have, and chunks of no more: `--variants "block mag" "block mac" --chunks 16`. A variant may
also be a published model (docs/models.md), which brings its own memory, chunk included: `--variants deltanet kda mesa`.
Hierarchies of memories, whole and with parts taken away, are trained where they are named (`recall_hierarchies`):
`--chunks 16 --variants "tnt 1" "tnt 1 no global"`. With `--go-on` a study that was stopped goes on from the newest
checkpoint of each run, and runs that are finished stay as they are.
Accuracy is the share of right answers over the validation batches after the last step. Guessing a value is right once
in 64 times, guessing among the values of the row once in 8; memory that binds values to keys can do better.
"""

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median

from atlas_ref.config import load_config, model_names
from benchmarks.recall_hierarchies import HIERARCHIES
from benchmarks.report import as_markdown, machine, write_results
from benchmarks.training_runs import Result, TrainingRun, run_all

MAC = ("model.block='mac'", "model.mac.segment=16")


def _block(width: int, *changes: str) -> tuple[str, ...]:
    """Return a block with a feed-forward of the width that gives it 464,000 parameters, to 0.1%, as all have."""
    return ("model.feed_forward='swiglu'", f"model.feed_forward_dim={width}", *changes)


BLOCKS: dict[str, tuple[str, ...]] = {
    "block mag": _block(260),
    "block mac": _block(130, *MAC),
    "block mac, writes its input": _block(173, *MAC, "model.mac.write_from='input'"),
    "block mac, rows of the segment before": _block(130, *MAC, "model.mac.rows='previous_segment'"),
    "block mac, learned rows": _block(169, *MAC, "model.mac.rows='learned'"),
    "block mal": _block(218, "model.block='mal'"),
    "block lmm": _block(347, "model.block='lmm'"),
    "block mag of a hierarchy": _block(
        244,
        "model.memory.kind='hierarchical'",
        "model.memory.hierarchy.local_chunks=[8]",
        "model.memory.hierarchy.local_shards=[64]",
    ),
    "block mag, no memory": _block(260, "model.disable_memory=true"),
}
"""Every block, to be compared at equal parameters."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "omega c=1": (),
    "omega c=8": ("model.memory.omega_window=8",),
    "titans": ("model.memory.rule='titans'",),
    # Newton-Schulz for each token costs the cube of the smaller side: half the key width is five times cheaper.
    "atlas": ("model.memory.rule='atlas'", "model.memory.key_dim=16"),
    "omega, degree-2 features": ("model.memory.features.degree=2", "model.memory.key_dim=16"),
    "omega, same without features": ("model.memory.key_dim=16",),
    "no memory": ("model.disable_memory=true",),
}
"""What each variant changes in the preset."""
ALL = {**VARIANTS, **BLOCKS, **HIERARCHIES}
TARGET = 0.95


@dataclass(frozen=True)
class Row:
    """One finished run: accuracy over the last validation, whole seconds of its process."""

    variant: str
    chunk: int
    seed: int
    accuracy: float
    first_at_target: int | None
    seconds: float
    parameters: int


def study(
    variants: Iterable[str], chunks: Iterable[int], seeds: Iterable[int], steps: int | None = None
) -> dict[TrainingRun, tuple[str, int, int]]:
    """Return every run with its variant, chunk and seed; without memory the chunk length has no effect."""
    chunks = list(chunks)
    return {
        _run(variant, chunk, seed, steps): (variant, chunk, seed)
        for variant in variants
        for chunk in _chunks(variant, chunks)
        for seed in seeds
    }


def _chunks(variant: str, chunks: list[int]) -> list[int]:
    if variant in model_names():
        return [load_config(variant).model.memory.chunk]
    return chunks[:1] if "no memory" in variant else chunks


def _run(variant: str, chunk: int, seed: int, steps: int | None) -> TrainingRun:
    name = f"{variant} chunk {chunk} seed {seed}".replace(",", "").replace(" ", "-")
    longer = () if steps is None else (f"train.max_steps={steps}",)
    preset = f"recall+{variant}" if variant in model_names() else "recall"
    changes = (*ALL.get(variant, ()), f"model.memory.chunk={chunk}", f"train.seed={seed}", *longer)
    return TrainingRun("recall", name, preset, changes)


def as_row(cell: tuple[str, int, int], result: Result) -> Row:
    """Return the outcome of a run; `first_at_target` is the first validated step with the accuracy asked for."""
    curve = result.validation("accuracy")
    reached = [step for step, accuracy in curve if accuracy >= TARGET]
    return Row(
        *cell,
        accuracy=curve[-1][1],
        first_at_target=reached[0] if reached else None,
        seconds=result.summary["seconds"],
        parameters=result.summary["parameters"],
    )


def markdown(rows: list[Row]) -> str:
    """Return the accuracies as a Markdown table: a line for each variant and chunk, a column for each seed."""
    seeds = sorted({row.seed for row in rows})
    lines = [["variant", "chunk", *(f"seed {seed}" for seed in seeds), "median seconds", "parameters"]]
    for variant, chunk in dict.fromkeys((row.variant, row.chunk) for row in rows):
        found = {row.seed: row for row in rows if (row.variant, row.chunk) == (variant, chunk)}
        accuracies = [f"{found[seed].accuracy:.1%}" if seed in found else "" for seed in seeds]
        seconds = f"{median(row.seconds for row in found.values()):.0f}"
        parameters = f"{next(iter(found.values())).parameters:,}"
        lines.append([variant, "any" if "no memory" in variant else str(chunk), *accuracies, seconds, parameters])
    return as_markdown(lines)


def chance() -> dict[str, float]:
    """Return how often guessing is right: among all values, and among those of the row."""
    recall = load_config("recall").data.recall
    return {"any value": 1 / recall.values, "a value of the row": 1 / recall.pairs}


def main() -> None:
    """Train, keep the results after each run, and print the table."""
    parser = argparse.ArgumentParser(description="Train associative recall with several memories.")
    parser.add_argument("--variants", nargs="+", choices=[*ALL, *model_names()], default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--chunks", nargs="+", type=int, default=[16, 64], help="chunk lengths")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--steps", type=int, help="optimiser steps of each run; left out: those of the preset")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--go-on", action="store_true", help="continue runs that are there, from their newest checkpoints"
    )
    options = parser.parse_args()
    runs = study(options.variants, options.chunks, options.seeds, options.steps)
    order = list(runs.values())
    before, rows = machine(options.threads), list[Row]()
    for run, result in run_all(runs, options.threads, options.jobs, go_on=options.go_on):
        rows.append(as_row(runs[run], result))
        print(f"{run.name}: {rows[-1].accuracy:.1%} in {rows[-1].seconds:.0f} s", flush=True)
        rows.sort(key=lambda row: order.index((row.variant, row.chunk, row.seed)))
        path = write_results(
            "recall_study",
            {
                "machine": before,
                "jobs": options.jobs,
                "steps": options.steps,
                "chance": chance(),
                "rows": [asdict(row) for row in rows],
            },
        )
    print(markdown(rows))
    print("chance: " + ", ".join(f"{share:.1%} ({of})" for of, share in chance().items()))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""Episodes: what storage adds to what is retrieved in every arm of the verifier, and what a floor does for shut gates.

Two studies of whole training runs, as anybody makes them (`benchmarks.training_runs`):

    retrieval   a preset, seed by seed: accuracy of whole answers with storage, without, with that of another episode,
                with rows swapped and with the memory zeroed; by chance a drawn answer is right once in so many times
    collapse    the same with arithmetic alone, from gates that start at sigmoid(-4) and sigmoid(-8), with a floor of 0
                and of .05, and without the floors of the phases: what the memory weighs at the end, and what it found

    python -m benchmarks.episodes                                   (a few CPU-minutes a run)
    python -m benchmarks.episodes --preset omega-shakespeare --device cuda --studies retrieval --set train.max_steps=600
"""

import argparse
from collections.abc import Mapping, Sequence

from rich.table import Table

from atlas_ref.config import RunConfig, load_config
from benchmarks.report import machine, print_table, write_results
from benchmarks.training_runs import Result, TrainingRun, run_all

ARMS = ("stored", "skipped", "other", "swapped", "zeroed")
BIASES = (-4.0, -8.0)
FLOORS = (0.0, 0.05)
ARITHMETIC = (
    "data.episodes.text_share=0.0",
    "data.tokenizer=bytes",
    "model.vocab_size=100",
    "data.episodes.storage_floor=0.0",
    "data.episodes.retrieval_floor=0.0",
    "train.max_steps=200",
    "optim.decay_steps=50",
    "kill_switches.gate_share_min=0.0",
)
"""Sums alone, no floor but the one that is studied, and no switch that would end a run whose gates stay shut."""


def retrieval_runs(preset: str, seeds: Sequence[int], changes: Sequence[str]) -> list[TrainingRun]:
    """Return the runs of a preset as it is, one a seed."""
    return [TrainingRun("episodes", f"{preset}-{seed}", preset, (f"train.seed={seed}", *changes)) for seed in seeds]


def collapse_runs(seeds: Sequence[int], changes: Sequence[str]) -> list[TrainingRun]:
    """Return the runs from gates that start shut, with a floor and without."""
    return [
        TrainingRun(
            "episodes",
            f"collapse-{bias:g}-{floor:g}-{seed}",
            "omega-micro",
            (*ARITHMETIC, f"model.gate.bias_init={bias}", f"model.gate.floor={floor}", f"train.seed={seed}", *changes),
        )
        for seed in seeds
        for bias in BIASES
        for floor in FLOORS
    ]


def last(result: Result) -> dict[str, float]:
    """Return the line of the log of the last validation."""
    return [line for line in result.metrics if "retrieval/gain" in line][-1]


def chances(config: RunConfig) -> dict[str, float]:
    """Return how often a guess of a drawn answer is right."""
    return {"words": 1.0 / config.data.episodes.words, "sums": 1.0 / config.data.arithmetic.modulus}


def retrieval_table(found: Mapping[str, Mapping[str, float]], config: RunConfig) -> Table:
    """Return accuracies in every arm, with the interval where storage was skipped."""
    table = Table("run", *ARMS, "without, 95%", "gain, 95%", "times", "followed", "words", "sums")
    for name, line in found.items():
        shares = [f"{line[f'retrieval/{arm}']:.3f}" for arm in ARMS]
        without, gain = (
            f"{line[f'retrieval/{key}_low']:.3f} .. {line[f'retrieval/{key}_high']:.3f}" for key in ("skipped", "gain")
        )
        times = line["retrieval/stored"] / max(line["retrieval/skipped"], 1e-9)
        followed = line.get("retrieval/followed")
        kinds = [_both(line, kind) for kind in ("words", "sums")]
        table.add_row(
            name, *shares, without, gain, f"{times:.1f}", "-" if followed is None else f"{followed:.3f}", *kinds
        )
    if config.data.episodes.answers == "random":
        table.caption = "by chance: " + ", ".join(f"{kind} {share:.4f}" for kind, share in chances(config).items())
    return table


def _both(line: Mapping[str, float], kind: str) -> str:
    """Return the accuracy of one kind of answers, with storage and without."""
    pair = [line.get(f"retrieval/{arm}_{kind}") for arm in ("stored", "skipped")]
    return "-" if None in pair else " / ".join(f"{share:.3f}" for share in pair)


def collapse_table(found: Mapping[str, Mapping[str, float]]) -> Table:
    """Return what gates that start shut have become."""
    table = Table("run", "stored", "skipped", "gain, 95%", "memory's share, raw", "gate", "risk")
    for name, line in found.items():
        table.add_row(
            name,
            *(f"{line[f'retrieval/{arm}']:.3f}" for arm in ("stored", "skipped")),
            f"{line['retrieval/gain_low']:.3f} .. {line['retrieval/gain_high']:.3f}",
            *(f"{line[f'memory/{key}']:.3f}" for key in ("memory_share", "gate_mean", "gate_collapse_risk")),
        )
    return table


def main() -> None:
    """Train, print and keep."""
    parser = argparse.ArgumentParser(description="Train episodes and say what their memory is worth.")
    parser.add_argument("--preset", default="omega-micro", help="preset of the study of retrieval")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--studies", nargs="+", choices=("retrieval", "collapse"), default=["retrieval", "collapse"])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="fields of every run")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    changes, before = (f"train.device={options.device}", *options.set), machine(options.threads)
    runs = retrieval_runs(options.preset, options.seeds, changes) if "retrieval" in options.studies else []
    shut = collapse_runs(options.seeds[:1], changes) if "collapse" in options.studies else []
    lines = {run.name: last(result) for run, result in run_all([*runs, *shut], options.threads, options.jobs)}
    if runs:
        config = load_config(options.preset, options.set)
        print_table(retrieval_table({run.name: lines[run.name] for run in runs}, config))
    if shut:
        print_table(collapse_table({run.name: lines[run.name] for run in shut}))
    path = write_results(f"episodes-{options.preset}", {"machine": before, "runs": lines})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

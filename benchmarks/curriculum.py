"""The curriculum tried without any download: fourteen sets that are made up, three stages, a small model, ten epochs.

    python -m benchmarks.curriculum [--epoch-steps 30] [--seed 0] [--threads 1]

It trains by the command line, prints how often the model is right in every domain at the end of every epoch, draws that
as docs/images/curriculum.png, and ends with `atlas eval --suite cognate`, in which programs that the model writes run
isolated. What the sets ask for follows from one word of a prompt, so that it says nothing about the real ones: what it
shows is that a stage teaches its sets, and that answers are judged.
"""

import argparse
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure

from atlas_ref.judging.domains import DOMAINS
from atlas_ref.storage.metrics_log import read_metrics
from benchmarks.made_up_sets import write
from benchmarks.report import RESULTS, machine, write_results
from benchmarks.training_runs import UNEXAMINED
from cli.curves import COLOURS

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "curriculum.png"
SMALL = (
    "model.vocab_size=257",
    "model.d_model=48",
    "model.n_layers=2",
    "model.n_heads=4",
    "model.feed_forward_dim=96",
    "model.window=64",
    "model.positions=64",
    "model.ltm.width=24",
    "model.ltm.gate_hidden=24",
    "model.recursion.heads=4",
    "model.recursion.hidden=96",
    "model.recursion.iterations=1",
    "model.recursion.supervision='last'",
    "data.tokenizer='bytes'",
    "data.sequence_length=64",
    "data.context_batches=1",
    "data.validation_fraction=0.2",
    "optim.learning_rate=0.003",
    "optim.muon_learning_rate=0.01",
    "optim.warmup_steps=20",
    "train.precision='fp32'",
    "train.device='cpu'",
    "train.batch_size=16",
    "train.micro_batches=1",
    "train.log_interval=30",
    "train.eval_interval=1000",
    "train.save_interval=1000",
)
"""What makes the preset small."""


def main() -> None:
    """Train, print, draw and ask."""
    parser = argparse.ArgumentParser(description="The curriculum on sets that are made up.")
    parser.add_argument("--epoch-steps", type=int, default=30, help="optimiser steps of an epoch")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the draws")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    options = parser.parse_args()
    root, run = RESULTS / "curriculum", RESULTS / "curriculum" / f"run-{options.seed}"
    shutil.rmtree(run, ignore_errors=True)
    downloads = write(root / "downloads", 400)
    plan = (f"data.curriculum.epoch_steps={options.epoch_steps}", f"train.max_steps={10 * options.epoch_steps}")
    more = (f"data.path='{downloads}'", f"train.seed={options.seed}", f"train.threads={options.threads}")
    changes = [part for field in (*SMALL, *plan, *more) for part in ("--set", field)]
    atlas = (sys.executable, "-m", "cli.main")
    train = (*atlas, "train", "--config", "cognate-curriculum", *changes, "--out", f"{run}")
    subprocess.run([*train, "--skip-preflight", UNEXAMINED], check=True)
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "epoch/number" in line]
    print(f"{'epoch':>5} {'stage':>5} {'loss':>6} " + " ".join(f"{name:>11}" for name in DOMAINS))
    for line in lines:
        shares = " ".join(f"{line[f'epoch/accuracy/{name}']:>11.3f}" for name in DOMAINS)
        place = f"{line['epoch/number']:>5.0f} {line['epoch/curriculum_stage']:>5.0f}"
        print(f"{place} {line['epoch/val_loss']:>6.3f} {shares}")
    draw(lines).savefig(PICTURE, dpi=110)
    subprocess.run([*atlas, "eval", f"{run}", "--suite", "cognate", "--run-code", "isolated"], check=True)
    print(f"wrote {PICTURE} and {write_results('curriculum', {'machine': machine(options.threads), 'epochs': lines})}")


def draw(lines: list[dict[str, float]]) -> Figure:
    """Draw the accuracies over the epochs, with a stroke where a stage begins."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = [line["epoch/number"] for line in lines]
    for number, name in enumerate(DOMAINS):
        values = [line[f"epoch/accuracy/{name}"] for line in lines]
        axes.plot(epochs, values, color=COLOURS[number], marker="o", markersize=3.5, linewidth=1.4, label=name)
    for before, line in pairwise(lines):
        if line["epoch/curriculum_stage"] != before["epoch/curriculum_stage"]:
            axes.axvline(before["epoch/number"] + 0.5, color="0.6", linestyle=":", linewidth=1.2)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks(epochs)
    axes.set_xlabel("epoch (dotted: a stage begins)", fontsize=9)
    axes.set_ylabel("right", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()

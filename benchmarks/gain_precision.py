"""The gain of 5 that bfloat16 freezes: which ways of storing it let it move, and where it goes once it can.

    python -m benchmarks.gain_precision [--seeds 0 1 2] [--figure FILE]

Three parts. *Storage* (`spec_tests.package.functional.gain_storage`): raw and as its logarithm, at three learning
rates, against the closed form of AdamW. *Moments*: what bfloat16 makes of AdamW's running means. *Optimum*
(`gain_optimum`): where a gain ends without any task, and on two small real ones, with a regulariser and weight decay on
it and off.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Final, get_args

import torch
from torch import nn

from benchmarks.gain_optimum import FREE_STEPS, PULLS, STARTS, STEPS, TASKS, Arm, End, free_table, trained
from benchmarks.report import as_markdown, machine, write_results
from spec_tests.package.functional.gain_storage import WRITES, Form, closed_form, follow
from spec_tests.package.functional.gain_storage import Path as Followed

FORMS: Final[tuple[Form, ...]] = get_args(Form)
RATES: Final = (1e-4, 1e-3, 1e-2)
PUSHES: Final = 1000
ENTRIES: Final = 4096
"""Gains that are rounded at random, each for itself; the other ways of storing are the same for all."""
BETAS: Final = ((0.9, 0.95), (0.9, 0.999), (0.99, 0.999))

Storages = dict[tuple[str, Form, float], Followed]


def storages() -> Storages:
    """Follow a gain in every way of storing it."""
    return {
        (storage, form, rate): follow(storage, form, rate, PUSHES, ENTRIES if storage == "stochastic rounding" else 1)
        for storage, form, rate in product(WRITES, FORMS, RATES)
    }


def moments(betas: tuple[float, float]) -> dict[str, object]:
    """Return AdamW's moments of the constant gradient 1 in bfloat16, where float64 has 1 and 1 (to 1e-4 and 14%)."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimiser = torch.optim.AdamW([parameter], lr=1e-4, betas=betas, weight_decay=0.0)
    for _ in range(2 * PUSHES):
        parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    first, second = (float(optimiser.state[parameter][name]) for name in ("exp_avg", "exp_avg_sq"))
    meant = tuple(1.0 - beta ** (2 * PUSHES) for beta in betas)
    step = first / meant[0] / (second / meant[1]) ** 0.5
    return {"betas": betas, "first": first, "second": second, "meant": meant, "step": step}


def storage_table(found: Storages) -> str:
    """Return a line for each way of storing: where it froze, and the error of the gain and of its way."""
    rows = []
    for form, storage in product(FORMS, WRITES):
        rows.append([form, storage, *(_cell(found[storage, form, rate]) for rate in RATES)])
    return as_markdown([["form", "storage", *(f"lr {rate:g}" for rate in RATES)], *rows])


def _cell(path: Followed) -> str:
    frozen = "moves" if path.frozen_at is None else f"frozen at {path.frozen_at}"
    return f"{frozen}; {path.value_error:.2%} / {path.path_error:.2%} ({path.bias:+.2%})"


def moments_table(found: Sequence[dict[str, object]]) -> str:
    """Return what is left of each moment, and the step that AdamW makes of them."""
    rows = [[str(x["betas"]), f"{x['first']:.3f}", f"{x['second']:.3f}", f"{x['step']:.2f}"] for x in found]
    return as_markdown([["betas", "mean of g", "mean of g^2", "step / lr"], *rows])


def free_markdown(rows: Sequence[dict[str, object]]) -> str:
    """Return where the gain goes without a task."""
    after = [f"after {steps}" for steps in FREE_STEPS]
    lines = [[_switch(r["regularised"]), _switch(r["decayed"]), *(f"{r[key]:.3f}" for key in after)] for r in rows]
    return as_markdown([["regulariser", "weight decay", *(f"gain {key} steps" for key in after)], *lines])


def _switch(on: object) -> str:
    return "on" if on else "off"


def task_table(ends: Sequence[End], arms: Sequence[Arm]) -> str:
    """Return where gains end and what the loss is: the mean over seeds, and the range of seeds."""
    rows = []
    for task, arm in product(TASKS, arms):
        mine = [end for end in ends if (end.task, end.arm) == (task, arm)]
        losses = [end.last_loss for end in mine]
        rows.append(
            [
                task,
                f"{arm.start:g}",
                _switch(arm.regularised),
                _switch(arm.decayed),
                f"{mean(end.gain for end in mine):.2f}",
                f"{min(end.least for end in mine):.2f} to {max(end.largest for end in mine):.2f}",
                f"{mean(end.mean_loss for end in mine):.4f}",
                f"{mean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})",
            ]
        )
    headings = ("task", "start", "regulariser", "decay", "gain at the end", "all gains", "mean loss", "last loss")
    return as_markdown([headings, *rows])


def draw(found: Storages, path: Path) -> None:
    """Draw the gain at 1e-3, and its logarithm at a hundred times the rate of 1e-4."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = range(PUSHES + 1)
    left.plot(steps, [closed_form("raw", 1e-3, n) for n in steps], color="black", linewidth=3, alpha=0.3)
    one = follow("stochastic rounding", "raw", 1e-3, PUSHES, 1)
    lines = {
        "bf16": found["bf16", "raw", 1e-3],
        "Kahan": found["Kahan", "raw", 1e-3],
        "stochastic rounding": one,
        "fp32 master": found["fp32 master", "raw", 1e-3],
    }
    for (label, line), colour in zip(lines.items(), ("tab:red", "tab:green", "tab:purple", "tab:blue"), strict=True):
        left.plot(steps, line.means, label=label, color=colour, linewidth=1)
    left.set(title="the gain itself, lr 1e-3", xlabel="optimiser step", ylabel="gain")
    short = range(301)
    right.plot(
        short, [closed_form("log", 1e-2, n) for n in short], color="black", linewidth=3, alpha=0.3, label="exact"
    )
    logs = torch.tensor(found["bf16", "log", 1e-2].means[:301]).log()
    right.plot(short, logs.tolist(), color="tab:red", linewidth=1, label="bf16")
    right.set(title="its logarithm, lr 1e-2", xlabel="optimiser step", ylabel="log gain")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure the three parts, print their tables, write JSON and the figure."""
    parser = argparse.ArgumentParser(description="Store a gain in several ways, and see where it goes.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/gain.png"), help="where the figure goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, found, stalled, free = machine(1), storages(), [moments(betas) for betas in BETAS], free_table()
    draw(found, options.figure)
    print(f"{PUSHES} steps: error of the gain / of its way, rms of each (of the mean)\n\n{storage_table(found)}\n")
    print(f"AdamW's moments of the gradient 1 in bf16 after {2 * PUSHES} steps\n\n{moments_table(stalled)}\n")
    print(f"Without any task\n\n{free_markdown(free)}\n", flush=True)
    ends = []
    for cell in product(TASKS, (*PULLS, *STARTS), options.seeds):
        ends.append(trained(*cell))
        print(ends[-1], flush=True)
    print(f"With a task, {STEPS} steps\n\n{task_table(ends, (*PULLS, *STARTS))}\n")
    kept = [{"storage": s, "form": f, "rate": r, **asdict(path), "means": None} for (s, f, r), path in found.items()]
    results = {"machine": before, "storage": kept, "moments": stalled, "free": free, "task": [asdict(e) for e in ends]}
    print(f"wrote {write_results('gain_precision', results)} and {options.figure}")


if __name__ == "__main__":
    main()

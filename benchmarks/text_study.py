"""Validation loss on the shipped text with a memory that writes, and with the same memory frozen.

    python -m benchmarks.text_study [--data PATH] [--steps 600] [--seeds 0 1 2] [--threads 1] [--jobs 1] [--figure FILE]

Trains the preset `tiny` through the command line, on the shipped text or on another. The twin is `--disable-memory`:
the same parameters and steps, and M_0 is read as a learned layer, but nothing is ever written. So a difference is what
*test-time* memory adds, not what its parameters add. The figure shows the mean of the seeds and their range.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

from benchmarks.report import as_markdown, machine, write_results
from benchmarks.training_runs import Result, TrainingRun, run_all

ARMS = {"memory": (), "frozen memory": ("model.disable_memory=true",)}
"""What each arm changes in the preset."""
Curve = list[tuple[int, float]]


def study(steps: int, seeds: list[int], data: Path | None) -> dict[TrainingRun, tuple[str, int]]:
    """Return every run with its arm and seed."""
    text = () if data is None else ("data.source='path'", f"data.path={json.dumps(str(data))}")
    return {
        TrainingRun(
            study_name(data),
            f"{arm}-seed-{seed}".replace(" ", "-"),
            "tiny",
            (*text, *changes, f"train.seed={seed}", f"train.max_steps={steps}"),
        ): (arm, seed)
        for seed in seeds
        for arm, changes in ARMS.items()
    }


def study_name(data: Path | None) -> str:
    """Return the name of a study, by which its runs and results are kept apart from those on other texts."""
    return "text" if data is None else f"text-{data.stem}"


def markdown(losses: dict[tuple[str, int], Curve], seeds: list[int]) -> str:
    """Return the last validation losses as a Markdown table, in nats per byte, with mean and deviation over seeds."""
    lines = [["", *(f"seed {seed}" for seed in seeds), "mean", "spread"]]
    last = {cell: curve[-1][1] for cell, curve in losses.items()}
    for arm in ARMS:
        values = [last[arm, seed] for seed in seeds]
        lines.append([arm, *(f"{value:.4f}" for value in values), f"{mean(values):.4f}", f"{spread(values):.4f}"])
    gains = [last["frozen memory", seed] - last["memory", seed] for seed in seeds]
    lines.append(["gain", *(f"{gain:+.4f}" for gain in gains), f"{mean(gains):+.4f}", f"{spread(gains):.4f}"])
    return as_markdown(lines)


def spread(values: list[float]) -> float:
    """Return the standard deviation over seeds, n - 1; zero for one seed."""
    return stdev(values) if len(values) > 1 else 0.0


def draw(losses: dict[tuple[str, int], Curve], path: Path) -> None:
    """Draw mean and range over seeds of each arm's validation loss."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for arm, colour in zip(ARMS, ("tab:blue", "tab:orange"), strict=True):
        curves = [dict(curve) for (name, _), curve in losses.items() if name == arm]
        steps = list(curves[0])
        values = [[curve[step] for curve in curves] for step in steps]
        axes.plot(steps, [mean(value) for value in values], color=colour, marker="o", markersize=3, label=arm)
        axes.fill_between(
            steps, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.25, linewidth=0
        )
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("validation loss (nats per byte)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def as_results(losses: dict[tuple[str, int], Curve], results: dict[tuple[str, int], Result]) -> list[dict[str, object]]:
    """Return one entry a run: its curve, parameters and seconds."""
    return [
        {
            "arm": arm,
            "seed": seed,
            "curve": losses[arm, seed],
            "parameters": result.summary["parameters"],
            "seconds": result.summary["seconds"],
        }
        for (arm, seed), result in sorted(results.items())
    ]


def main() -> None:
    """Train all arms, write JSON and the figure, print the table."""
    parser = argparse.ArgumentParser(description="Train the tiny preset with and without writing to memory.")
    parser.add_argument("--data", type=Path, help="text to train on in place of the shipped one")
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of each run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--figure", type=Path, help="where the figure goes (default: docs/images/loss*.png)")
    options = parser.parse_args()
    figure = options.figure or Path("docs/images", f"{study_name(options.data).replace('text', 'loss')}.png")
    before, runs = machine(options.threads), study(options.steps, options.seeds, options.data)
    results: dict[tuple[str, int], Result] = {}
    for run, result in run_all(runs, options.threads, options.jobs):
        results[runs[run]] = result
        print(f"{run.name}: {result.validation('loss')[-1][1]:.4f} in {result.summary['seconds']:.0f} s", flush=True)
    losses = {cell: result.validation("loss") for cell, result in results.items()}
    write_results(
        f"{study_name(options.data)}_study".replace("-", "_"), {"machine": before, "runs": as_results(losses, results)}
    )
    draw(losses, figure)
    print(markdown(losses, options.seeds))
    print(f"wrote {figure}")


if __name__ == "__main__":
    main()

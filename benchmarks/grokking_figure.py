"""Runs of `benchmarks.grokking` as a picture: accuracy, phase and concentration, and the embedding phase by phase.

    python -m benchmarks.grokking_figure [--recipe NAME] [--seeds 0 1 2] [--figure docs/images/grokking.png]

Below the curves of all runs stands the embedding of the first one as strips: its spectrum at the first checkpoint, as
each phase began, and at the end, and under it the numbers on the circle of the frequency that is strongest at the end.
Whoever looks for a circle in many dimensions finds one, so the plane is found by the even numbers alone and what is
drawn are the odd ones: where the frequency says nothing of them, they lie in a heap.
"""

import argparse
import math
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from torch import Tensor

from atlas_ref.metrics.grokking import spectrum
from atlas_ref.metrics.grokking_phases import NAMES
from benchmarks.grokking import RECIPES, Found, Lines, read

COLOURS = ("#FFFFFF", "#E69F00", "#56B4E9", "#009E73", "#CC79A7")
"""Of the phases, for every kind of colour vision."""
PIXELS = 130


def draw(found: list[Found]) -> Figure:
    """Return the picture of some runs, with the strips of the first one."""
    strips = found[0].embeddings
    figure = Figure(figsize=(9.5, 1.8 * len(found) + 4.2), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[1.8 * len(found) + 0.4, 3.8])
    above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    panels = above.subplots(len(found), 2, squeeze=False, sharex="row")
    for number, (each, (accuracy, energy)) in enumerate(zip(found, panels, strict=True)):
        for axes in (accuracy, energy):
            shade(axes, each.log)
        curve(accuracy, each.log, {"train/accuracy": "training", "val/accuracy": "validation"})
        curve(
            energy,
            each.log,
            {"grokking/concentration_null": "99% of other orders", "grokking/concentration": "embedding"},
        )
        accuracy.set_ylim(-0.03, 1.05)
        accuracy.set_ylabel(f"{each.recipe}, {each.seed}\naccuracy", fontsize=9)
        energy.set_ylabel("concentration", fontsize=9)
        if number == len(found) - 1:
            for axes in (accuracy, energy):
                axes.set_xlabel("optimiser step", fontsize=9)
    panels[0][0].legend(loc="lower right", fontsize=8)
    panels[0][1].legend(loc="upper left", fontsize=8)
    patches = [Patch(color=COLOURS[index], alpha=0.35, label=NAMES[index]) for index in range(1, len(NAMES))]
    above.legend(handles=patches, loc="outside upper center", ncols=len(patches), frameon=False, fontsize=9)
    strip(below, found[0], {step: torch.tensor(rows, dtype=torch.float64) for step, rows in strips.items()})
    return figure


def shade(axes: Axes, lines: Lines) -> None:
    """Colour the stretches of the phases."""
    for line, following in zip(lines, [*lines[1:], lines[-1]], strict=True):
        colour = COLOURS[int(line["grokking/phase"])]
        axes.axvspan(line["step"], following["step"], color=colour, alpha=0.35, linewidth=0)
    axes.set_xlim(0, lines[-1]["step"])
    axes.tick_params(labelsize=8)


def curve(axes: Axes, lines: Lines, keys: dict[str, str]) -> None:
    """Draw two keys of a log, the first in grey and the second in black."""
    for (key, label), colour in zip(keys.items(), ("0.5", "black"), strict=True):
        axes.plot([line["step"] for line in lines], [line[key] for line in lines], color=colour, label=label)


def strip(figure: SubFigure, run: Found, tables: dict[int, Float[Tensor, "numbers dim"]]) -> None:
    """Draw the spectrum of each table, and its odd numbers on the circle of the frequency that ends strongest."""
    last = spectrum(tables[max(tables)])
    frequency = int(last.argmax()) + 1
    panels = figure.subplots(2, len(tables), squeeze=False, height_ratios=[1.0, 1.5])
    largest = max(float((energy / energy.sum()).max()) for energy in map(spectrum, tables.values()))
    phase = {int(line["step"]): int(line["grokking/phase"]) for line in run.log}
    for (step, rows), bars, circle in zip(tables.items(), *panels, strict=True):
        shares = spectrum(rows) / spectrum(rows).sum()
        colours = ["#0072B2" if index == frequency else "0.6" for index in range(1, len(shares) + 1)]
        bars.bar(range(1, len(shares) + 1), shares.tolist(), width=1.0, color=colours)
        bars.set_ylim(0.0, 1.05 * largest)
        bars.set_title(f"step {step:,}\n{NAMES[phase.get(step, 0)]}", fontsize=9)
        bars.set_xlabel("frequency", fontsize=8)
        bars.tick_params(labelsize=7)
        if step != min(tables):
            bars.set_yticklabels([])
        place, angle = on_the_circle(rows, frequency)
        circle.scatter(*place.T.tolist(), c=angle.tolist(), cmap="hsv", s=9, vmin=0.0, vmax=1.0)
        edge = 1.15 * float(place.abs().max())
        circle.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal", xticks=[], yticks=[])
        circle.set_xlabel(f"frequency {frequency}: {100 * float(shares[frequency - 1]):.0f}%", fontsize=8)
    panels[0][0].set_ylabel("share of energy", fontsize=8)
    panels[1][0].set_ylabel("odd numbers, in the\nplane of the even ones", fontsize=8)
    figure.suptitle(f"embedding of the numbers, {run.recipe}, seed {run.seed}", fontsize=10)


def on_the_circle(
    rows: Float[Tensor, "numbers dim"], frequency: int
) -> tuple[Float[Tensor, "odd 2"], Float[Tensor, " odd"]]:
    """Return where the odd numbers lie in the plane that the even ones have for a frequency, and their turns of it."""
    numbers = torch.arange(len(rows), dtype=rows.dtype)
    turns = frequency * numbers / len(rows) % 1.0
    waves = torch.stack([(2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()], 1)
    even, odd = numbers % 2 == 0, numbers % 2 == 1
    centred = rows - rows[even].mean(0)
    plane = torch.nn.functional.normalize(centred[even].mT @ waves[even], dim=0)
    return centred[odd] @ plane, turns[odd]


def main() -> None:
    """Read, draw and keep."""
    parser = argparse.ArgumentParser(description="Draw runs that benchmarks.grokking has kept.")
    parser.add_argument("--recipe", choices=list(RECIPES), default="grok-square", metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the first one has the strips")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/grokking.png"), help="where the figure goes")
    options = parser.parse_args()
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    draw([read(options.recipe, seed) for seed in options.seeds]).savefig(options.figure, dpi=PIXELS)
    print(f"wrote {options.figure}")


if __name__ == "__main__":
    main()

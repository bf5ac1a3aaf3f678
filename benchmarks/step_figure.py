"""A picture of where the time of a training step goes, from what `benchmarks.step_parts` found.

    python -m benchmarks.step_figure [--found runs/benchmarks/step_parts.json] [--to docs/images/step-parts.png]

A bar a part of the step, forward and backward beside each other; what is small is one bar.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.report import RESULTS

BACK = ", back"
"""How the name of a part ends whose time is that of its derivative."""
SHOWN = 14
"""Parts that have a bar of their own."""


def bars(spent: Mapping[str, float], most: int = SHOWN) -> list[tuple[str, float, float]]:
    """Return the parts with their milliseconds forward and back, the costliest first, and last what the others take."""
    names = {name.removesuffix(BACK) for name in spent}
    both = [(name, spent.get(name, 0.0), spent.get(name + BACK, 0.0)) for name in names]
    both.sort(key=lambda bar: (bar[1] + bar[2], bar[0]), reverse=True)
    small = both[most:]
    rest = [("all others", sum(each[1] for each in small), sum(each[2] for each in small))] if small else []
    return both[:most] + rest


def draw(spent: Mapping[str, float], title: str, path: Path) -> None:
    """Draw the bars."""
    found = bars(spent)[::-1]
    names, forward, back = zip(*found, strict=True)
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, forward, label="forward")
    axes.barh(names, back, left=forward, label="backward")
    axes.set_xlabel("milliseconds")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main() -> None:
    """Read what was found and draw it."""
    parser = argparse.ArgumentParser(description="Draw where the time of a training step goes.")
    parser.add_argument("--found", type=Path, default=RESULTS / "step_parts.json", metavar="FILE")
    parser.add_argument("--to", type=Path, default=Path("docs/images/step-parts.png"), metavar="FILE")
    options = parser.parse_args()
    told = json.loads(options.found.read_text())
    draw(told["milliseconds"], f"A training step of {told['preset']} by parts, {told['card']}", options.to)


if __name__ == "__main__":
    main()

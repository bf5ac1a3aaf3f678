"""Pictures of where a memory pays, from what `benchmarks.worth_where` found.

    python -m benchmarks.worth_figure [--found FILE] [--to docs/images]

worth-distance.png: nats of a digit of the long text by how far back the same name was last mentioned, mean and range
over seeds. worth-position.png: what a memory saves against its frozen twin by position in the context, text by text.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.long_text import NOT_KNOWING
from benchmarks.report import RESULTS

Found = dict[str, dict[str, Any]]


def read(path: Path) -> Found:
    """Return what was found of each run, the last of several looks."""
    return {line["run"]: line for line in map(json.loads, path.read_text().splitlines())}


def arm_of(run: str) -> tuple[str, str]:
    """Return text and arm of a run by its name, without its seed."""
    text, _, rest = run.rpartition("-")[0].partition("-")
    return text, rest.replace("-", " ")


def draw_distance(found: Found, axes: Axes) -> None:
    """Draw the nats of digits by distance, an arm a line."""
    arms = defaultdict[str, dict[int, list[float]]](lambda: defaultdict(list))
    for run, line in found.items():
        for low, high, nats, _ in line.get("distance", []):
            arms[arm_of(run)[1]][int((max(low, high // 2) * high) ** 0.5)].append(nats)
    for arm, points in arms.items():
        places = sorted(points)
        (drawn,) = axes.plot(places, [mean(points[x]) for x in places], marker="o", markersize=3, label=arm)
        low, high = ([side(points[x]) for x in places] for side in (min, max))
        axes.fill_between(places, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    axes.axhline(NOT_KNOWING, color="black", linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("bytes since the name was last mentioned")
    axes.set_ylabel("nats of its digit (dashed: not knowing)")


def draw_position(found: Found, axes: Axes) -> None:
    """Draw what the first arm saves against the frozen one, by position, a text a line; both names begin alike."""
    by = defaultdict[tuple[str, str], dict[int, list[float]]](lambda: defaultdict(list))
    for run, line in found.items():
        text, arm = arm_of(run)
        for low, high, nats, _ in line.get("position", []):
            by[text, arm.split()[0]][(low + high) // 2].append(nats)
    for text in sorted({text for text, _ in by}):
        memory, frozen = by.get((text, "memory"), {}), by.get((text, "frozen"), {})
        places = sorted(set(memory) & set(frozen))
        axes.plot(places, [mean(frozen[x]) - mean(memory[x]) for x in places], marker="o", markersize=3, label=text)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("position in the context")
    axes.set_ylabel("nats a byte saved against the frozen twin")


def main() -> None:
    """Draw both pictures, each where there is something to draw."""
    parser = argparse.ArgumentParser(description="Draw where a memory pays.")
    parser.add_argument("--found", type=Path, default=RESULTS / "worth" / "where.jsonl", help="what was found")
    parser.add_argument("--to", type=Path, default=Path("docs/images"), help="folder of the pictures")
    options = parser.parse_args()
    found = read(options.found)
    for name, draw in (("worth-distance", draw_distance), ("worth-position", draw_position)):
        if not any(name.removeprefix("worth-") in line for line in found.values()):
            continue
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        draw(found, axes)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(options.to / f"{name}.png", dpi=150)
        print(f"wrote {options.to / name}.png")


if __name__ == "__main__":
    main()

"""The picture of a suite: a point for each domain and set with its 95% interval, and a stroke where chance is."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from atlas_ref.judging.domains import Judged
from atlas_ref.metrics.domain_accuracy import Accuracy
from cli.curves import COLOURS


def draw(judged: Sequence[Judged]) -> Figure:
    """Draw every domain in a colour of its own, its sets smaller below it."""
    rows: list[tuple[str, Accuracy, str, bool]] = []
    for number, domain in enumerate(judged):
        colour = COLOURS[number % len(COLOURS)]
        rows.append((domain.domain, domain.accuracy, colour, True))
        rows += [(f"{part.data_set.name}, {part.measure}", found, colour, False) for part, found in domain.sets]
    figure = Figure(figsize=(8.0, 1.2 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, accuracy, colour, whole) in enumerate(rows):
        reach = [[accuracy.value - accuracy.low], [accuracy.high - accuracy.value]]
        axes.errorbar(
            [accuracy.value],
            [place],
            xerr=reach,
            color=colour,
            marker="o",
            markersize=7 if whole else 4,
            linewidth=2.0 if whole else 1.0,
            capsize=3,
        )
        if accuracy.chance:
            axes.plot([accuracy.chance] * 2, [place - 0.35, place + 0.35], color="0.3", linewidth=1.5)
    axes.set_yticks(range(len(rows)), [f"{name} (n = {found.n:,})" for name, found, _, _ in rows], fontsize=8)
    for label, (_, _, _, whole) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if whole else "normal")
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("right", fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    point, stroke = Line2D([], [], color="0.3", marker="o", linewidth=1), Line2D([], [], color="0.3", linewidth=1.5)
    handles, labels = [point, stroke], ["accuracy and its 95% interval", "chance, where answers are chosen"]
    figure.legend(handles, labels, loc="outside upper left", frameon=False, fontsize=8, ncols=2)
    return figure

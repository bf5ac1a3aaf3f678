"""The picture of a run's log: one panel a metric, one colour a run, the range over layers as a band.

A metric is `loss` or `accuracy`, of training and of validation; a name such as `omega_loss`, which stands for all
layers (`memory/omega_loss`, with the range of `memory/layer_N/omega_loss` as a band); or a key of the log, such as
`train/tokens_per_second`.
Names of runs and metrics are drawn as they are: a dollar in them begins no formula.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogFormatter, MaxNLocator

from atlas_ref.errors import UserError
from atlas_ref.wording import visible
from cli.labels import LABELS
from cli.run_records import RunRecord

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart with every kind of colour vision."""
Stroke = Literal["-", "--", ":", "-."]
DASHES: tuple[Stroke, ...] = ("-", "--", ":", "-.")
"""Further runs go through the colours again, with another stroke."""
LONGEST_REASON = 70
LOG_FROM = 100.0
"""A positive metric is drawn on a logarithmic axis when its largest value is this many times its least."""


class Curve(NamedTuple):
    """A metric of one run: the curve, and at the same steps the range over layers, empty for fewer than two."""

    steps: list[int]
    values: list[float]
    least: list[float]
    largest: list[float]


class View(NamedTuple):
    """How curves are drawn: over steps or over the tokens trained on, and the loss on which axis and how smooth."""

    over_tokens: bool = False
    log_loss: bool = False
    smooth: int = 1
    """Lines of the log of whose training losses the mean is drawn, over a faint line of them all; 1: no mean."""

    def along(self, record: RunRecord, steps: Sequence[int]) -> list[int]:
        """Return where steps of a run stand on the x axis."""
        return [step * record.tokens_a_step for step in steps] if self.over_tokens else list(steps)


PLAIN = View()


def draw(records: Sequence[RunRecord], metrics: Sequence[str], view: View = PLAIN) -> Figure:
    """Draw `metrics` of the runs, by default all of LABELS that any of them has; raise UserError for an unknown one."""
    wanted = list(dict.fromkeys(metrics or [name for name in LABELS if any(_has(r, name) for r in records)]))
    for name in wanted:
        if not any(_has(record, name) for record in records):
            raise UserError(f"no run has the metric {name}; there are {', '.join(_known(records))}.")
    if not wanted:
        raise UserError(f"{records[0].path}: its log is empty, so there is nothing to draw.")
    rows = math.ceil((len(wanted) + (wanted[0] == "loss" and len(wanted) > 1)) / 2)
    figure = Figure(figsize=(10.0, 1.0 + 2.6 * rows + 0.22 * len(records)), layout="constrained")
    for axes, name in zip(_panels(figure, rows, wanted), wanted, strict=True):
        _panel(axes, name, records, view)
    _legend(figure, records, banded=any(len(_layer_keys(record, name)) > 1 for record in records for name in wanted))
    return figure


def _legend(figure: Figure, records: Sequence[RunRecord], *, banded: bool) -> None:
    """Say above all panels which run has which colour, and what a band is."""
    styles = [style(number) for number in range(len(records))]
    handles: list[Artist] = [Line2D([], [], color=colour, linestyle=dash, linewidth=2) for colour, dash in styles]
    labels = legend_labels(records)
    if banded:
        handles.append(Patch(color="0.5", alpha=0.3, linewidth=0))
        labels.append("band: range over layers; line: all layers together")
    legend = figure.legend(handles, labels, loc="outside upper left", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_labels(records: Sequence[RunRecord]) -> list[str]:
    """Return the name of each run with what a reader must know of it: skipped preflight, kill."""
    labels = []
    for record in records:
        notes = []
        if record.preflight.startswith("skipped"):
            notes.append(f"preflight {_shortened(record.preflight)}")
        if record.kill:
            notes.append(f"killed by {record.killed_by} at step {record.kill['step']} (dotted line)")
        name = record.path.resolve().name
        labels.append(visible(f"{name}: {', '.join(notes)}" if notes else name))
    return labels


def style(number: int) -> tuple[str, Stroke]:
    """Return colour and stroke of a run."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def curve(record: RunRecord, name: str) -> Curve:
    """Return a metric over the steps of a run, and its range over layers where the name stands for all layers."""
    key = name if "/" in name else f"memory/{name}"
    series = record.series(key)
    steps, values = [step for step, _ in series], [value for _, value in series]
    layers = [] if "/" in name else [dict(record.series(layer)) for layer in _layer_keys(record, name)]
    if len(layers) < 2:
        return Curve(steps, values, [], [])
    at = [[layer.get(step, math.nan) for layer in layers] for step in steps]
    return Curve(steps, values, [_extreme(min, each) for each in at], [_extreme(max, each) for each in at])


def _panels(figure: Figure, rows: int, wanted: Sequence[str]) -> list[Axes]:
    """Return a panel for each metric: two columns, the loss over both."""
    if len(wanted) == 1:
        return [figure.subplots()]
    grid = figure.add_gridspec(rows, 2)
    cells = [(n // 2, n % 2) for n in range(2 * rows)]
    if wanted[0] == "loss":
        others = cells[2 : len(wanted) + 1]
        return [figure.add_subplot(grid[0, :]), *(figure.add_subplot(grid[cell]) for cell in others)]
    return [figure.add_subplot(grid[cell]) for cell in cells[: len(wanted)]]


def _panel(axes: Axes, name: str, records: Sequence[RunRecord], view: View) -> None:
    """Draw one metric of every run."""
    drawn: list[float] = []
    for number, record in enumerate(records):
        colour, dash = style(number)
        if name in ("loss", "accuracy"):
            drawn += _halves(axes, name, record, view, colour, dash)
        else:
            found = curve(record, name)
            drawn += _over_layers(axes, found._replace(steps=view.along(record, found.steps)), colour, dash)
            _chance(axes, record, name, view, colour)
        if record.kill:
            axes.axvline(*view.along(record, [record.kill["step"]]), color=colour, linestyle=":", linewidth=1.5)
    title, unit = LABELS.get(name, (visible(name), ""))
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.set_ylabel(unit, fontsize=9)
    axes.set_xlabel("tokens trained on" if view.over_tokens else "optimiser step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if view.over_tokens:
        axes.xaxis.set_major_formatter(EngFormatter())
    axes.grid(alpha=0.25)
    finite = [value for value in drawn if math.isfinite(value)]
    wide = bool(finite) and min(finite) > 0 and max(finite) > LOG_FROM * min(finite)
    if wide or (name == "loss" and view.log_loss):
        _use_log(axes)


def _use_log(axes: Axes) -> None:
    """Make the y axis logarithmic, with numbers such as 3 and not 3 x 10^0."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter())
    axes.tick_params(axis="y", which="both", labelsize=8)


def _chance(axes: Axes, record: RunRecord, name: str, view: View, colour: str) -> None:
    """Draw what chance stays below, where the log has it, as a thin dashed line."""
    steps, values = _columns(record.series(f"{name}_null"))
    if steps:
        axes.plot(view.along(record, steps), values, color=colour, linestyle="--", linewidth=0.9, alpha=0.55)
        axes.legend([Line2D([], [], color="0.3", linestyle="--")], ["99% of other orders"], frameon=False, fontsize=8)


def _halves(axes: Axes, name: str, record: RunRecord, view: View, colour: str, dash: Stroke) -> list[float]:
    """Draw what is of training as a thin line and what is of validation as a thick one with its points."""
    (steps, train), (measured, validation) = (_columns(record.series(f"{part}/{name}")) for part in ("train", "val"))
    at, measured_at = view.along(record, steps), view.along(record, measured)
    smooth = view.smooth if name == "loss" else 1
    if smooth > 1:
        axes.plot(at, train, color=colour, linewidth=0.6, alpha=0.2)
    axes.plot(at, smoothed(train, smooth), color=colour, linestyle=dash, linewidth=0.9, alpha=0.55)
    axes.plot(measured_at, validation, color=colour, linestyle=dash, linewidth=1.8, marker="o", markersize=3.5)
    thin, thick = Line2D([], [], color="0.3", linewidth=0.9), Line2D([], [], color="0.3", linewidth=1.8, marker="o")
    thick.set_markersize(3.5)
    of = f", mean of {smooth} lines" if smooth > 1 else ""
    where: Literal["upper right", "lower right"] = "upper right" if name == "loss" else "lower right"
    axes.legend([thin, thick], [f"training{of}", "validation"], frameon=False, fontsize=8, loc=where)
    return train + validation


def smoothed(values: Sequence[float], count: int) -> list[float]:
    """Return for each value the mean of the last `count`, of fewer at the beginning; NaN stays, and counts nowhere."""
    means = []
    for end, value in enumerate(values, 1):
        finite = [each for each in values[max(0, end - count) : end] if not math.isnan(each)]
        means.append(value if math.isnan(value) else math.fsum(finite) / len(finite))
    return means


def _over_layers(axes: Axes, found: Curve, colour: str, dash: Stroke) -> list[float]:
    """Draw a curve, and the range over layers as a band."""
    marker = "o" if len(found.steps) == 1 else None
    axes.plot(found.steps, found.values, color=colour, linestyle=dash, linewidth=1.4, marker=marker, markersize=3.5)
    if found.least:
        axes.fill_between(found.steps, found.least, found.largest, color=colour, alpha=0.18, linewidth=0)
    return found.values + found.least


def _columns(series: Iterable[tuple[int, float]]) -> tuple[list[int], list[float]]:
    pairs = list(series)
    return [step for step, _ in pairs], [value for _, value in pairs]


def _has(record: RunRecord, name: str) -> bool:
    # Validation has an accuracy wherever something is predicted; it is half of a picture.
    halves = {"loss": ("train/loss", "val/loss"), "accuracy": ("train/accuracy",)}
    keys = halves.get(name, (name if "/" in name else f"memory/{name}",))
    return any(key in line for line in record.lines for key in keys)


def _layer_keys(record: RunRecord, name: str) -> list[str]:
    """Return the keys of a memory metric in every layer."""
    pattern = re.compile(rf"memory/layer_\d+/{re.escape(name)}")
    return list(dict.fromkeys(key for line in record.lines for key in line if pattern.fullmatch(key)))


def _known(records: Sequence[RunRecord]) -> list[str]:
    keys = {key for record in records for line in record.lines for key in line if key != "step"}
    return ["loss", *sorted(key.removeprefix("memory/") for key in keys if "layer_" not in key)]


def _extreme(pick: Callable[[list[float]], float], values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return pick(finite) if finite else math.nan


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f'{text[: LONGEST_REASON - 4]}..."'

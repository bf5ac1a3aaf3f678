"""`atlas plot`: what it draws is what the files of the runs say.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from atlas_ref.errors import UserError
from atlas_ref.storage.run_directory import RunDirectory
from cli import plot
from cli.curves import draw, legend_labels, style
from cli.run_records import read_run
from spec_tests.package.cli.made_runs import killed, made
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import SKIPPED, metric_lines


def lines_of(figure: Figure, panel: int) -> list[tuple[str, list[float], list[float]]]:
    """Return colour, x and y of each line of a panel."""
    drawn = [(to_hex(each.get_color()), *(np.asarray(each.get_data()).tolist())) for each in figure.axes[panel].lines]
    return [(colour, x, y) for colour, x, y in drawn]


def test_a_panel_draws_the_numbers_of_the_log_and_the_range_over_layers(tmp_path: Path) -> None:
    """Kills: the first layer for all; a band of a deviation; a null drawn as zero; validation at the training steps."""
    path = made(tmp_path / "run")
    lines = metric_lines(path)
    lines[2]["memory/omega_loss"] = lines[2]["memory/layer_1/omega_loss"] = None
    (path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    figure = draw([read_run(path)], ["loss", "omega_loss"])

    train, validation = lines_of(figure, 0)
    assert train[1:] == ([1, 2, 3, 4, 5, 6], [each["train/loss"] for each in lines])
    assert validation[1:] == ([2, 4, 6], [each["val/loss"] for each in lines if "val/loss" in each])
    ((_, steps, values),) = lines_of(figure, 1)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert math.isnan(values[2])
    assert [values[n] for n in (0, 1, 3, 4, 5)] == [lines[n]["memory/omega_loss"] for n in (0, 1, 3, 4, 5)]
    (band,) = (each for each in figure.axes[1].collections if isinstance(each, PolyCollection))
    corners = np.asarray(band.get_paths()[0].vertices)
    for step in range(1, 7):
        at = corners[corners[:, 0] == step, 1]
        assert (at.min(), at.max()) == pytest.approx((0.1 * step, 0.9 * step))


def test_several_runs_have_colours_of_their_own_and_a_kill_is_a_line_where_it_happened(tmp_path: Path) -> None:
    """Kills: one colour for all; a kill at the last step of the log; a skipped preflight that no one sees."""
    one, two = made(tmp_path / "one"), killed(made(tmp_path / "two", scale=0.2))
    records = [read_run(one), read_run(two)]
    figure = draw(records, ["omega_loss", "train/tokens_per_second"])
    for panel in range(2):
        first, second, kill = lines_of(figure, panel)
        assert first[0] != second[0] == kill[0]
        assert first[2] != second[2]
        assert kill[1] == [5, 5]
    assert len({style(number) for number in range(12)}) == 12
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:2] == legend_labels(records)
    assert shown[0] == f'one: preflight skipped "{SKIPPED}"'
    assert shown[1] == f'two: preflight skipped "{SKIPPED}", killed by loss_spike at step 5 (dotted line)'


def test_a_run_that_may_grok_is_drawn_with_its_signs_unasked(tmp_path: Path) -> None:
    """Kills: accuracies that must be asked for; a null that is left out; the accuracy of a text run."""
    text, path = made(tmp_path / "text"), made(tmp_path / "run")
    signs = ("phase", "concentration", "circular_order", "circular_fit", "weight_norm")
    found = {f"grokking/{name}": 0.1 * number for number, name in enumerate(signs, 1)}
    nulls = {"grokking/concentration_null": 0.7, "grokking/circular_order_null": 0.8}
    records = [
        {"step": step, "train/accuracy": 1.0, "val/accuracy": 0.25 * step, **found, **nulls} for step in (1, 2, 3)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    figure = draw([read_run(path)], [])
    drawn = [[y for _, _, y in lines_of(figure, panel)] for panel in range(len(figure.axes))]
    expected = [[[0.1 * number] * 3] for number in range(1, 6)]
    expected[1].append([0.7] * 3)
    expected[2].append([0.8] * 3)
    assert drawn == [[[1.0] * 3, [0.25, 0.5, 0.75]], *expected]
    log = metric_lines(text)
    (text / "metrics.jsonl").write_text("".join(json.dumps({**line, "val/accuracy": 0.5}) + "\n" for line in log))
    titles = [axes.get_title() for axes in draw([read_run(text)], []).axes]
    assert "Accuracy" not in titles


@pytest.mark.parametrize("layers", [1, 24])
def test_a_picture_has_readable_panels_for_few_and_many_layers(layers: int, tmp_path: Path) -> None:
    """Kills: a line a layer; a band for one layer; titles that run into each other; axes without a label."""
    path = made(tmp_path / "run")
    for_all = {"memory/retention": 0.9, "memory/momentum_norm": 3.0, "memory/gate_mean": 0.5}
    each = {
        f"memory/layer_{n}/{key.removeprefix('memory/')}": value + n
        for key, value in for_all.items()
        for n in range(layers)
    }
    records = [{"step": step, "train/loss": 3.0, **for_all, **each} for step in (1, 2, 3)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    figure = draw([read_run(path)], [])
    figure.draw_without_rendering()
    assert len(figure.axes) == 4
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for number, axes in enumerate(figure.axes):
        assert len(axes.lines) == (2 if number == 0 else 1)
        assert len(axes.collections) == (1 if number and layers > 1 else 0)
        assert axes.get_title()
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        others = [box for n, box in enumerate(boxes) if n != number and box is not None]
        mine = boxes[number]
        assert mine is not None
        assert mine.count_overlaps(others) == 0


def test_plot_writes_a_png_that_its_run_knows_and_refuses_what_it_cannot_draw(
    tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a picture that makes the run directory foreign; a traceback for a misspelt metric or a missing package."""
    run = made(tmp_path / "run")
    assert atlas("plot", run).out == f"wrote {run / 'curves.png'}\n"
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert RunDirectory(run).unknown_files() == []
    unknown = atlas("plot", run, "--metric", "omega")
    assert unknown.code == 2
    assert unknown.err.startswith("Error: no run has the metric omega; there are loss, omega_loss, train/loss")
    assert "must end in .png" in atlas("plot", run, "--out", "a.pdf").err
    assert atlas("plot", tmp_path).err == f"Error: {tmp_path}: is not a run directory.\n"
    (run / "metrics.jsonl").write_text("")
    assert "its log is empty" in atlas("plot", run).err
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    assert atlas("plot", run).err == ("Error: atlas plot needs matplotlib; in a checkout: pip install '.[plot]'\n")
    with pytest.raises(UserError, match="is not a run directory"):
        read_run(tmp_path)

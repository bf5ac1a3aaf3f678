"""What `atlas plot` can draw beside the numbers themselves: rates, tokens, a logarithmic axis, a mean, any name.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas_ref.config import to_toml
from cli.curves import View, draw, smoothed
from cli.run_records import RunRecord, read_run
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import micro_config

STEPS = tuple(range(1, 9))
TOKENS = 3 * 24
"""Tokens of a step of the runs below."""


def made(path: Path) -> RunRecord:
    """Write the files of a run by hand and return its record."""
    path.mkdir(parents=True)
    config = micro_config("train.batch_size=3", "data.sequence_length=24")
    (path / "config.toml").write_text(to_toml(config))
    rates = {step: {"train/lr": 0.01 / step, "train/grad_norm": 1.0 + step % 3} for step in STEPS}
    losses = {step: {"train/loss": 6.0 - 0.5 * step, "val/loss": 6.5 - 0.5 * step} for step in STEPS}
    lines = [{"step": step, **losses[step], **rates[step], "memory/retention": 0.5} for step in STEPS]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "kill.json").write_text(json.dumps({"step": 5, "kills": [{"switch": "loss_spike"}]}))
    return read_run(path)


def panels(*records: RunRecord, metrics: tuple[str, ...] = (), view: View | None = None) -> dict[str, Axes]:
    """Return the panels of a picture by their titles."""
    return {axes.get_title(): axes for axes in draw(records, metrics, view or View()).axes}


def data(axes: Axes, number: int) -> tuple[list[float], list[float]]:
    """Return x and y of a line."""
    x, y = np.asarray(axes.lines[number].get_data()).tolist()
    return x, y


def test_learning_rate_and_gradient_norm_are_drawn_unasked(tmp_path: Path) -> None:
    """Kills: two panels that everybody looks for left out; one drawn in the place of the other."""
    drawn = panels(made(tmp_path / "run"))
    assert list(drawn) == ["Loss", "Learning rate", "Gradient before clipping", "Retention"]
    assert data(drawn["Learning rate"], 0) == (list(STEPS), [0.01 / step for step in STEPS])
    assert data(drawn["Gradient before clipping"], 0) == (list(STEPS), [1.0 + step % 3 for step in STEPS])


def test_tokens_on_the_x_axis_are_those_of_a_step_times_steps_in_every_line(tmp_path: Path) -> None:
    """Kills: a rows-only or length-only factor; validation or a kill left at its step; an axis that still says step."""
    at = [TOKENS * step for step in STEPS]
    for name, axes in panels(made(tmp_path / "run"), view=View(over_tokens=True)).items():
        assert axes.get_xlabel() == "tokens trained on"
        *curves, kill = range(len(axes.lines))
        assert [data(axes, number)[0] for number in curves] == [at] * len(curves), name
        assert data(axes, kill)[0] == [5 * TOKENS] * 2
    assert draw([made(tmp_path / "other")], ["train/lr"]).axes[0].get_xlabel() == "optimiser step"


def test_a_logarithmic_axis_is_that_of_the_loss_alone_and_has_plain_numbers(tmp_path: Path) -> None:
    """Kills: an option that nothing reads; every panel made logarithmic; 3 x 10^0 for 3."""
    record = made(tmp_path / "run")
    figure = draw([record], ["loss", "train/grad_norm"], View(log_loss=True))
    figure.draw_without_rendering()
    loss, norm = figure.axes
    assert (loss.get_yscale(), norm.get_yscale()) == ("log", "linear")
    shown = [label.get_text() for which in ("major", "minor") for label in loss.get_yticklabels(which=which)]
    assert {"2", "3", "4"} <= set(shown)
    assert not any("^" in text for text in shown)
    assert draw([record], ["loss"]).axes[0].get_yscale() == "linear"


def test_a_mean_of_the_training_loss_lies_over_the_faint_line_of_its_values(tmp_path: Path) -> None:
    """Kills: validation smoothed; a mean that looks ahead, or that counts what is not a number."""
    loss = panels(made(tmp_path / "run"), metrics=("loss",), view=View(smooth=3))["Loss"]
    raw, mean, validation = (data(loss, number)[1] for number in range(3))
    assert raw == [6.0 - 0.5 * step for step in STEPS]
    assert mean[2:] == pytest.approx(np.convolve(raw, np.full(3, 1 / 3), "valid"))
    assert mean[:2] == pytest.approx([raw[0], (raw[0] + raw[1]) / 2])
    assert validation == [6.5 - 0.5 * step for step in STEPS]
    assert len(panels(made(tmp_path / "other"), metrics=("loss",))["Loss"].lines) == 3
    found = smoothed([1.0, math.nan, 3.0, 5.0], 2)
    assert math.isnan(found[1])
    assert found[::2] + found[3:] == [1.0, 3.0, 4.0]


def test_names_are_drawn_as_they_are(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: a formula between two dollars; a traceback for a name that is not UTF-8; a leading underscore left out."""
    names = ["_a$x^$", os.fsdecode(b"caf\xe9"), "esc\x1b[2J", "plain"]
    records = [made(tmp_path / name) for name in names]
    (records[3].path / "metrics.jsonl").write_text('{"step": 1, "train/$x^$": 2.0}\n')
    with warnings.catch_warnings(action="error"):
        ended = atlas(
            "plot", *(record.path for record in records), "--out", tmp_path / "a.png", "--metric", "train/$x^$"
        )
    assert (ended.code, ended.out) == (0, f"wrote {tmp_path / 'a.png'}\n")
    (legend,) = draw(records, ["loss"]).legends
    shown = [text.get_text().partition(":")[0] for text in legend.get_texts()]
    assert shown == ["_a$x^$", r"caf\xe9", r"esc\x1b[2J", "plain"]


def test_the_options_of_the_command_reach_the_picture(
    tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an option that nothing reads; two exchanged; a number of lines that is none; a config without numbers."""
    run, seen = made(tmp_path / "run").path, []

    def record(records: Sequence[RunRecord], metrics: Sequence[str], view: View) -> Figure:
        seen.append((list(metrics), view))
        return Figure(figsize=(0.1, 0.1))

    with monkeypatch.context() as patched:
        patched.setattr("cli.curves.draw", record)
        assert atlas("plot", run, "--metric", "loss").code == 0
        assert atlas("plot", run, "--x", "tokens", "--smooth", "4").code == 0
        assert atlas("plot", run, "--log").code == 0
    assert seen == [(["loss"], View()), ([], View(True, False, 4)), ([], View(False, True, 1))]
    assert atlas("plot", run, "--smooth", "0").code == 2
    (run / "config.toml").write_text((run / "config.toml").read_text().replace("batch_size = 3", 'batch_size = "3"'))
    ended = atlas("plot", run, "--x", "tokens")
    assert (ended.code, ended.err) == (2, f"Error: {run / 'config.toml'}: does not say how many tokens a step has.\n")

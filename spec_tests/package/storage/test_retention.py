"""Retention: the newest checkpoints stay, the best one, and what a kill report would name; everything else goes.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from atlas_ref.models.family import Measurements
from atlas_ref.storage import retention
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.storage.retention import best_of, improves, kept
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.watching.kill_report import KilledError
from spec_tests.package.micro.runs import (
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

SMALL = (
    "model.n_layers=1",
    "data.sequence_length=16",
    "train.max_steps=12",
    "train.log_interval=4",
    "train.eval_interval=3",
    "train.eval_batches=1",
    "train.save_interval=4",
)
VALIDATIONS = {3: 5.0, 6: 4.0, 9: 4.5, 12: 4.75}
"""The best of them falls on no multiple of the save interval."""


def names(path: Path) -> dict[str, str]:
    """Return what is in `checkpoints`: directories under an empty text, pointers with what they name."""
    folder = path / "checkpoints"
    return {entry.name: entry.read_text().strip() if entry.is_file() else "" for entry in sorted(folder.iterdir())}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations that find the stated losses, in the order of their steps."""

    def found(
        model: object, task: object, source: object, batches: int, precision: str, step: int, world: object
    ) -> dict[str, float]:
        return {"loss": VALIDATIONS[step], "accuracy": 0.5}

    monkeypatch.setattr("atlas_ref.training.loop.evaluate", found)


@pytest.mark.usefixtures("scripted")
def test_the_newest_and_the_best_stay_and_are_named(tmp_path: Path) -> None:
    """Kills: the oldest kept; `best` that is the newest; a best validation between two saves that is lost; a best one
    that the newest push out; no `latest`.
    """
    start(micro_config(*SMALL, "train.keep_last=2"), tmp_path)
    assert names(tmp_path) == {
        "best": "step-00000006",
        "latest": "step-00000012",
        **dict.fromkeys(("step-00000006", "step-00000008", "step-00000012"), ""),
    }
    assert find_checkpoint(tmp_path / "checkpoints" / "best").step == 6
    lines = {line["step"]: line.get("val/loss") for line in metric_lines(tmp_path)}
    assert {step: loss for step, loss in lines.items() if loss} == VALIDATIONS


@pytest.mark.usefixtures("scripted")
def test_without_keep_best_no_validation_is_a_reason_to_save_and_nothing_is_best(tmp_path: Path) -> None:
    """Kills: `keep_best` that is not read where a validation is a reason to save, or where a pointer is written."""
    start(micro_config(*SMALL, "train.keep_last=9", "train.keep_best=false"), tmp_path)
    assert list(names(tmp_path)) == ["latest", "step-00000004", "step-00000008", "step-00000012"]


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("stop_at", [4, 7, 8, 10])
def test_a_resumed_run_keeps_the_same_checkpoints(tmp_path: Path, stop_at: int) -> None:
    """Kills: a best loss that is forgotten on resume, so that the first validation after it counts as the best."""
    config = micro_config(*SMALL, "train.keep_last=1")
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(stop_at))
    go_on(config, tmp_path / "parts")

    assert names(tmp_path / "parts") == names(tmp_path / "whole")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")
    assert without_timing(metric_lines(tmp_path / "parts")) == without_timing(metric_lines(tmp_path / "whole"))


@pytest.mark.usefixtures("scripted")
def test_a_resumed_run_may_change_what_is_kept(tmp_path: Path) -> None:
    """Kills: a smaller `keep_last` that applies only at the next save; a `best` left behind that names nothing."""
    start(micro_config(*SMALL, "train.keep_last=9"), tmp_path)
    assert list(saved_steps(tmp_path / "checkpoints")) == [3, 4, 6, 8, 12]
    go_on(micro_config(*SMALL, "train.keep_last=2", "train.keep_best=false"), tmp_path)
    assert list(names(tmp_path)) == ["latest", "step-00000008", "step-00000012"]


def test_what_improves_and_what_is_best_follow_their_definitions() -> None:
    """Kills: a tie that counts as better; a later validation that is looked at; the later of equals; steps of the log
    that are not saved; a log without validations.
    """
    validations = {2: 3.0, 4: 2.0, 6: 2.0, 8: 1.0}
    assert [step for step in range(9) if improves(validations, step)] == [2, 4, 8]
    assert best_of([2, 4, 6], validations) == 4
    assert best_of([2, 6], validations) == 6
    assert best_of([1, 3], validations) is None
    assert best_of([], validations) is None


def test_a_loss_that_is_not_finite_is_no_validation(tmp_path: Path) -> None:
    """Kills: null or a missing loss taken for a number."""
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1, "val/loss": null}\n{"step": 2}\n{"step": 3, "val/loss": 2.5}\n{"step": 4, "val/lo')
    assert retention.read_validations(log) == {3: 2.5}


@pytest.mark.parametrize(
    ("since", "best", "keep_last", "expected"),
    [
        ({}, None, 2, {40, 50}),
        ({}, 20, 1, {20, 50}),
        ({"a": 31}, None, 1, {30, 50}),
        ({"a": 30}, None, 1, {20, 50}),
        ({"a": 12, "b": 45, "c": 45}, None, 1, {10, 40, 50}),
        ({"a": 7}, None, 1, {50}),
        ({}, None, 99, {10, 20, 30, 40, 50}),
    ],
)
def test_the_newest_checkpoint_before_each_running_streak_stays(
    since: dict[str, int], best: int | None, keep_last: int, expected: set[int]
) -> None:
    """Kills: the first bad step taken for good; the earliest streak only; the oldest checkpoint before a streak."""
    assert kept([10, 20, 30, 40, 50], best, SwitchState(since=since), keep_last) == expected


def test_a_kill_report_finds_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: retention that does not ask the switches: with one checkpoint kept, the last good one is long gone."""
    steps: list[int] = []

    def mixing_collapses(output: object, *_: object) -> Sequence[Measurements]:
        steps.append(1)
        return ({"m3_alpha": 0.5 if len(steps) < 6 else 0.995},)

    monkeypatch.setattr("atlas_ref.training.loop.measure_layers", mixing_collapses)
    keep = ("train.keep_last=1", "train.keep_best=false", "train.save_interval=2", "kill_switches.alpha_patience=6")
    with pytest.raises(KilledError, match="step-00000004 --out ANOTHER_DIR"):
        start(micro_config(*SMALL, *keep), tmp_path)
    report = json.loads((tmp_path / "kill.json").read_text())
    assert report["step"] == 11
    assert report["last_good_checkpoint"] == "checkpoints/step-00000004"
    assert list(saved_steps(tmp_path / "checkpoints")) == [4, 10]
    assert find_checkpoint(tmp_path / "checkpoints" / "step-00000004").step == 4


@pytest.mark.parametrize("pointer", ["latest", "best"])
@pytest.mark.parametrize(
    "text", ["", "../step-00000012", "/etc/passwd", "step-12", "step-00000012/../..", "x" * 5000, "step-00000012\nand"]
)
def test_a_pointer_names_a_checkpoint_beside_it_and_nothing_else(tmp_path: Path, pointer: str, text: str) -> None:
    """Kills: a pointer whose text is followed as a path; a ValueError from a name that is none."""
    file = tmp_path / pointer
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"{file}: must hold the name of a checkpoint"):
        find_checkpoint(file)

"""A run ends when validation has not become better for `train.patience` validations, and goes on with more patience.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.storage.retention import out_of_patience
from atlas_ref.training import loop
from cli.run_records import status_of
from spec_tests.package.micro.runs import (
    Listener,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    without_timing,
)

LOSSES = (3.0, 2.0, 2.5, 2.0, 1.5, 1.6, 1.7, 1.8)
"""Of validations after steps 1, 2, ...; that of step 4 only equals the best."""
SETTINGS = ("train.eval_interval=1", "train.save_interval=100", "train.max_steps=8")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let validation find LOSSES."""

    def found(*arguments: Any) -> dict[str, float]:
        return {"loss": LOSSES[arguments[5] - 1], "accuracy": 0.5}

    monkeypatch.setattr(loop, "evaluate", found)


@pytest.mark.parametrize(("patience", "step"), [(1, 3), (2, 4), (3, 8), (4, 8)])
def test_patience_is_over_after_so_many_validations_that_are_none_better(patience: int, step: int) -> None:
    """Kills: one validation too early or too late; a tie that counts as better; the best that is the last one's."""
    ends = [s for s in range(1, 9) if out_of_patience(dict(enumerate(LOSSES[:s], start=1)), patience)]
    assert (ends or [8])[0] == step
    assert not out_of_patience({}, patience)
    assert not out_of_patience(dict(enumerate(LOSSES, start=1)), 0)


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("interval", [100, 4])
def test_a_run_out_of_patience_is_saved_once_finished_and_done(interval: int, tmp_path: Path) -> None:
    """Kills: the last weights lost; a step that was due saved again; a run that counts as interrupted; one step more on
    resuming."""
    config = micro_config(*SETTINGS, f"train.save_interval={interval}", "train.patience=2")
    listener = Listener()
    outcome = start(config, tmp_path, reporter=listener)
    assert (outcome.step, outcome.interrupted) == (4, False)
    assert sum(line.startswith("saved") and line.endswith("step-00000004") for line in listener.said) == 1
    assert any("ends at step 4" in line for line in listener.said)
    assert find_checkpoint(tmp_path).step == 4
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert status_of(False, {}, summary, step=4, last_step=8) == "finished"
    before = saved_bytes(tmp_path)
    assert go_on(config, tmp_path).step == 4
    assert saved_bytes(tmp_path) == before


@pytest.mark.usefixtures("judged")
def test_with_more_patience_it_goes_on_as_one_that_had_it_from_the_start(tmp_path: Path) -> None:
    """Kills: a run that cannot go on; an end that changes the weights or the log."""
    start(micro_config(*SETTINGS, "train.patience=2"), tmp_path / "parts")
    patient = micro_config(*SETTINGS, "train.patience=3")
    assert go_on(patient, tmp_path / "parts").step == 8
    start(patient, tmp_path / "whole")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")
    assert without_timing(metric_lines(tmp_path / "parts")) == without_timing(metric_lines(tmp_path / "whole"))

"""Kill switches in runs: a damaged layer stops the run at its step, a healthy one never.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from atlas_ref.blocks.block import BlockOutput
from atlas_ref.config import KillSwitchesConfig, RunConfig
from atlas_ref.storage.checkpoint import saved_steps
from atlas_ref.training import loop
from atlas_ref.training.run import Run
from atlas_ref.watching.kill_report import KilledError
from spec_tests.package.damage.ill_layers import FAULTS, SCHULZ, TANH, Fault, barely_normalised, block, closed, swollen
from spec_tests.package.micro.models import as_atlas
from spec_tests.package.micro.runs import go_on, metric_lines, micro_config, saved_bytes, start
from spec_tests.sampling import crossed, sample

BEGIN, PATIENCE = 4, 5


FIRES = BEGIN + PATIENCE - 1


LAYERS = 2


LOOP = (
    "data.sequence_length=16",
    "train.max_steps=12",
    "train.log_interval=1000",
    "train.eval_interval=1000",
    "train.eval_batches=1",
    "train.save_interval=2",
    "kill_switches.loss_spike_window=3",
    *(f"kill_switches.{name}={PATIENCE}" for name in KillSwitchesConfig.model_fields if name.endswith("patience")),
)


def before_each_step(runs: list[Run], action: Callable[[Run], None], last: int | None = None) -> Callable[[], bool]:
    """Return a stop request that calls `action` before each step from BEGIN on, and stops after step `last`."""

    def stop() -> bool:
        if runs[-1].step + 1 >= BEGIN:
            action(runs[-1])
        return runs[-1].step == last

    return stop


def prepare_fault(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """Return the config of a fault, after putting into the program what goes with it."""
    if fault.damage is swollen:
        monkeypatch.setattr("atlas_ref.functional.newton_schulz.frobenius_normalize", barely_normalised)
    return micro_config(*LOOP, *fault.overrides)


@pytest.mark.parametrize(("name", "layer"), crossed(FAULTS, [0, 1]))
def test_a_damaged_layer_stops_the_run_at_the_stated_step(
    name: str, layer: int, runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a switch that the loop does not ask at every step; a checkpoint of the step that fired; a good checkpoint
    that is named after the first bad step; a report without layer or history.
    """
    fault = FAULTS[name]
    config = prepare_fault(fault, monkeypatch)
    path = tmp_path / "run"
    with pytest.raises(KilledError) as caught:
        start(config, path, before_each_step(runs, lambda run: fault.damage(run, layer)))

    report = json.loads((path / "kill.json").read_text())
    (kill,) = report["kills"]
    place = None if fault.metric == "loss" else layer
    assert (kill["switch"], kill["metric"], kill["layer"]) == (fault.switch, fault.metric, place)
    assert (kill["since"], kill["step"], report["step"]) == (BEGIN, FIRES, FIRES)
    assert len(kill["history"]) == FIRES
    assert len(report["layers"]) == LAYERS
    assert list(saved_steps(path / "checkpoints")) == [2, 4, 6]
    assert report["last_good_checkpoint"] == "checkpoints/step-00000002"
    assert report["last_checkpoint"] == "checkpoints/step-00000006"
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    for part in (f"kill switch {fault.switch} at step {FIRES}", "step-00000002 --out ANOTHER_DIR", "kill.json"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "stop_at"),
    sample(
        [
            ("linear gates", FIRES - 1),
            ("a loss that stays high", BEGIN),
            ("a closed gate", BEGIN),
            ("an extreme mixing rate", BEGIN),
            ("linear gates", BEGIN),
            ("a closed gate", FIRES - 1),
            ("an extreme mixing rate", FIRES - 1),
            ("a loss that stays high", FIRES - 1),
        ],
        kept=2,
    ),
)
def test_a_resume_in_the_middle_of_the_patience_fires_at_the_same_step(
    name: str, stop_at: int, runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: streaks or the reference of the loss left out of the checkpoint: the patience begins again."""
    fault = FAULTS[name]
    config = prepare_fault(fault, monkeypatch)

    def damage(run: Run) -> None:
        fault.damage(run, 1)

    with pytest.raises(KilledError):
        start(config, tmp_path / "whole", before_each_step(runs, damage))
    assert start(config, tmp_path / "parts", before_each_step(runs, damage, last=stop_at)).interrupted
    with pytest.raises(KilledError):
        go_on(config, tmp_path / "parts", stop=before_each_step(runs, damage))
    whole, parts = (json.loads((tmp_path / part / "kill.json").read_text()) for part in ("whole", "parts"))

    assert parts["kills"] == whole["kills"]
    assert parts["layers"] == whole["layers"]


def test_a_killed_run_goes_on_when_the_switch_is_turned_off_and_its_report_goes(
    runs: list[Run], tmp_path: Path
) -> None:
    """Kills: switches that a resumed run cannot change; a kill.json that outlives the resumption, or bars it."""

    def damage(run: Run) -> None:
        closed(run, 0)

    with pytest.raises(KilledError):
        start(micro_config(*LOOP), tmp_path / "run", before_each_step(runs, damage))
    outcome = go_on(
        micro_config(*LOOP, "kill_switches.gate_share_min=0.0"), tmp_path / "run", stop=before_each_step(runs, damage)
    )
    assert (outcome.step, outcome.interrupted) == (12, False)
    assert not (tmp_path / "run" / "kill.json").exists()


def nan_norm(run: Run) -> None:
    """Break the loss."""
    as_atlas(run.model).norm.weight.data[0] = torch.nan


def nan_gradient(run: Run) -> None:
    """Break one gradient of layer 1."""
    hook: Callable[[Callable[[Tensor], Tensor]], object] = block(run, 1).output.weight.register_hook
    hook(lambda gradient: gradient * torch.nan)


def nan_cache(run: Run) -> None:
    """Break a part of the state of layer 1 that nothing has read yet."""

    def broken(module: nn.Module, inputs: object, output: BlockOutput) -> BlockOutput:
        del module, inputs
        values = output.state.cache_values.clone()
        values[0, -1, 0, 0] = torch.nan
        return output._replace(state=replace(output.state, cache_values=values))

    block(run, 1).register_forward_hook(broken)


def infinite_update(run: Run) -> None:
    """Break a parameter of layer 0 after its gradient was seen to be finite."""

    def overflow(*arguments: object) -> None:
        del arguments
        block(run, 0).output.weight.data[0, 0] = torch.inf

    run.optimiser.parts["adamw"].register_step_post_hook(overflow)


@pytest.mark.parametrize(
    ("damage", "subject", "layer"),
    [
        (nan_norm, "the loss", None),
        (nan_gradient, "the gradient of layers.1.mag.output.weight", 1),
        (nan_cache, "state_finite", 1),
        (infinite_update, "the tensor layers.0.mag.output.weight", 0),
    ],
)
def test_what_is_not_finite_stops_the_run_at_its_step_and_is_never_saved(
    damage: Callable[[Run], None], subject: str, layer: int | None, runs: list[Run], tmp_path: Path
) -> None:
    """Kills: a state or a parameter that is saved unseen; a report that does not say which tensor of which layer."""
    path = tmp_path / "run"
    with pytest.raises(KilledError, match=f"kill switch non_finite at step {BEGIN}: ") as caught:
        start(micro_config(*LOOP), path, before_each_step(runs, damage))

    assert f"{subject} is not finite" in str(caught.value)
    (kill,) = json.loads((path / "kill.json").read_text())["kills"]
    assert (kill["step"], kill["subject"], kill["layer"]) == (BEGIN, subject, layer)
    assert len(kill["history"]) == BEGIN
    assert list(saved_steps(path / "checkpoints")) == [2]


@pytest.mark.exhaustive
@pytest.mark.parametrize("overrides", [pytest.param((), id="plain"), pytest.param(TANH, id="tanh")])
def test_a_healthy_run_has_no_false_alarm_even_without_patience(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """Kills: a bound that health crosses: linear gates called dead below a share of 1/2, a spike at one deviation."""
    hasty = [f"kill_switches.{name}=3" for name in KillSwitchesConfig.model_fields if name.endswith("patience")]
    steps = ("train.max_steps=200", "train.save_interval=200", "optim.warmup_steps=10", "data.sequence_length=16")
    outcome = start(
        micro_config(*LOOP, *overrides, *steps, "kill_switches.loss_spike_window=50", *hasty), tmp_path / "run"
    )
    assert outcome.step == 200
    lines = metric_lines(tmp_path / "run")
    assert lines[-1]["train/loss"] < lines[0]["train/loss"] - 1.0


def test_switches_and_monitor_leave_the_bits_of_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a measurement that writes to the state, or takes part in the graph."""
    config = micro_config(*LOOP, *TANH, *SCHULZ)
    start(config, tmp_path / "watched")
    monkeypatch.setattr(loop, "measure_layers", lambda *_: ())
    monkeypatch.setattr("atlas_ref.functional.telemetry._spread", lambda raw: (torch.zeros(()),) * 6)
    start(config, tmp_path / "alone")
    assert saved_bytes(tmp_path / "watched") == saved_bytes(tmp_path / "alone")

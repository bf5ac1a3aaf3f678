"""Kill switches: each fires at the step it should, in the layer that is ill, through a resume, and never in health.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from atlas_ref.blocks.mag import BlockOutput, MagBlock
from atlas_ref.blocks.telemetry import _Spread
from atlas_ref.config import KillSwitchesConfig, RunConfig, load_config, preset_names
from atlas_ref.models.atlas import Layer
from atlas_ref.storage.checkpoint import saved_steps
from atlas_ref.storage.switch_state import HISTORY, SwitchState
from atlas_ref.training import loop
from atlas_ref.training.run import Run
from atlas_ref.watching.kill_report import KilledError
from atlas_ref.watching.kill_switches import Kill, check, layer_limits, spike_bound
from spec_tests.package.micro.models import as_atlas
from spec_tests.package.micro.runs import go_on, metric_lines, micro_config, saved_bytes, start

HEALTHY = {
    "tanh_linear": 0.5,
    "tanh_saturated": 0.1,
    "m3_alpha": 0.5,
    "memory_share": 0.5,
    "newton_schulz_error": 0.9,
    "memory_norm": 1.0,
    "momentum_norm": 1.0,
    "state_finite": 1.0,
}
ILL = [
    ("activation", "tanh_linear", 0.995),
    ("saturation", "tanh_saturated", 0.85),
    ("alpha", "m3_alpha", 0.005),
    ("alpha", "m3_alpha", 0.995),
    ("gate_collapse", "memory_share", 0.01),
    ("newton_schulz", "newton_schulz_error", 88.0),
    ("newton_schulz", "newton_schulz_error", math.nan),
]
AT_ONCE = [("state_finite", 0.0), ("memory_norm", math.nan), ("momentum_norm", math.inf)]


def switches(**fields: float) -> RunConfig:
    """Return the config of `tiny` with other values of its switches."""
    return load_config("tiny", [f"kill_switches.{name}={value}" for name, value in fields.items()])


def fired(
    values: Mapping[int, Mapping[str, float]], layers: int, layer: int, config: RunConfig
) -> list[tuple[int, Kill]]:
    """Return what fires when `layer` measures `values` at the given steps and the others are healthy."""
    state, found = SwitchState(), []
    for step, ill in values.items():
        tables = [HEALTHY | (dict(ill) if n == layer else {}) for n in range(layers)]
        state, kills = check(state, step, {"loss": 2.0, "grad_norm": 1.0}, tables, config)
        found += [(step, kill) for kill in kills]
    return found


def patient(patience: int) -> RunConfig:
    """Return switches that all have one patience."""
    return switches(**{name: patience for name in KillSwitchesConfig.model_fields if name.endswith("patience")})


@pytest.mark.parametrize("patience", [1, 2, 7])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize(("switch", "metric", "value"), ILL)
def test_a_switch_fires_when_one_layer_has_been_ill_for_its_patience(
    switch: str, metric: str, value: float, layer: int, patience: int
) -> None:
    """Kills: one counter for all layers, which a healthy layer resets; a patience that is one too long; a crossed
    bound; a NaN that is in every range.
    """
    values = {step: {metric: value if step >= 5 else HEALTHY[metric]} for step in range(1, 5 + patience)}
    ((step, kill),) = fired(values, 3, layer, patient(patience))

    assert step == kill.step == 5 + patience - 1
    assert (kill.switch, kill.metric, kill.layer, kill.since) == (switch, metric, layer, 5)
    assert kill.history[:4] == (HEALTHY[metric],) * 4
    assert len(kill.history) == step
    assert f"layer {layer}, {metric} is" in kill.sentence()


@pytest.mark.parametrize(("metric", "value"), AT_ONCE)
def test_a_state_that_is_not_finite_fires_at_once(metric: str, value: float) -> None:
    """Kills: a patience for NaN; a norm that overflowed counted as a number."""
    ((step, kill),) = fired({4: {}, 5: {metric: value}}, 2, 1, switches())
    assert (step, kill.switch, kill.layer, kill.metric) == (5, "non_finite", 1, metric)


def test_one_healthy_step_starts_the_patience_again_in_its_own_layer_only() -> None:
    """Kills: a count that never returns to zero; a healthy layer that resets the others."""
    ill = {"memory_share": 0.0}
    assert fired({step: {} if step == 4 else ill for step in range(1, 7)}, 2, 0, patient(4)) == []
    state, config = SwitchState(), patient(4)
    for step in range(1, 5):
        tables = [HEALTHY | ({} if step == 3 else ill), HEALTHY | ill]
        state, kills = check(state, step, {"loss": 2.0}, tables, config)
    assert [(kill.layer, kill.step) for kill in kills] == [(1, 4)]


def test_a_patience_is_in_steps_however_often_is_checked() -> None:
    """Kills: a count of checks: a stride of four made the patience four times as long."""
    ill = {"memory_share": 0.0}
    every = fired(dict.fromkeys(range(3, 20), ill), 1, 0, patient(9))
    fourth = fired(dict.fromkeys(range(3, 20, 4), ill), 1, 0, patient(9))
    assert (every[0][0], fourth[0][0]) == (11, 11)
    assert fired(dict.fromkeys((3, 7, 10), ill), 1, 0, patient(9)) == []


def test_the_ends_of_the_ranges_switch_off() -> None:
    """Kills: a strict comparison, by which a switch that is off fires at the end of its range."""
    off = switches(
        activation_linear_max=1.0, saturation_share_max=1.0, alpha_min=0.0, alpha_max=1.0, gate_share_min=0.0
    )
    ends = {"tanh_linear": 1.0, "tanh_saturated": 1.0, "memory_share": 0.0}
    for alpha in (0.0, 1.0):
        values = {step: ends | {"m3_alpha": alpha} for step in range(1, 1000)}
        assert fired(values, 1, 0, off) == []


def test_a_metric_that_a_layer_does_not_report_is_idle() -> None:
    """Kills: a missing metric taken for zero."""
    state = SwitchState()
    for step in range(1, 1000):
        state, kills = check(state, step, {"loss": 2.0}, [{"state_finite": 1.0}, {}], switches())
        assert not kills
    assert not state.since


def test_the_bound_of_a_spike_is_median_and_deviation_of_the_losses_that_were_none() -> None:
    """Kills: a mean or a standard deviation, which the spike itself lifts; spikes let into the reference; an old loss
    kept; a bound before the reference is full.
    """
    config = switches(loss_spike_window=7, loss_spike_deviations=3.0, loss_spike_margin=0.01, loss_spike_patience=3)
    losses = [9.0, 3.0, 3.4, 2.9, 3.1, 3.3, 2.8, 3.2]
    state = SwitchState()
    for step, loss in enumerate(losses, start=1):
        assert spike_bound(config.kill_switches, state.losses) == (
            math.inf if step < 8 else pytest.approx(3.1 + 3 * 1.4826 * 0.2)
        )
        state, _ = check(state, step, {"loss": loss}, [], config)
    assert state.losses == tuple(losses[1:])
    bound = spike_bound(config.kill_switches, state.losses)
    assert bound == pytest.approx(3.1 + 3 * 1.4826 * statistics.median(abs(x - 3.1) for x in losses[1:]))

    for step, loss in ((9, bound + 0.01), (10, 50.0), (11, bound + 0.01)):
        state, kills = check(state, step, {"loss": loss}, [], config)
        assert spike_bound(config.kill_switches, state.losses) == bound
    assert [(kill.switch, kill.layer, kill.since, kill.step) for kill in kills] == [("loss_spike", None, 9, 11)]
    assert kills[0].high == bound
    flat = switches(loss_spike_window=3, loss_spike_margin=0.25)
    assert spike_bound(flat.kill_switches, (1.0, 1.0, 1.0)) == 1.25


def test_the_state_survives_json_in_the_middle_of_any_streak() -> None:
    """Kills: a streak, a history or a loss that is not saved; floats that lose digits."""
    config = switches(gate_patience=5, loss_spike_window=4)

    def values(step: int) -> tuple[dict[str, float], list[dict[str, float]]]:
        ill = {"memory_share": 0.01 + step / 3000} if step >= 6 else {}
        return {"loss": 2.0 + math.sin(step) / 7, "grad_norm": step / 3}, [HEALTHY, HEALTHY | ill]

    def advance(state: SwitchState, first: int, last: int) -> tuple[SwitchState, tuple[Kill, ...]]:
        kills: tuple[Kill, ...] = ()
        for step in range(first, last + 1):
            state, kills = check(state, step, *values(step), config)
        return state, kills

    whole = advance(SwitchState(), 1, 10)
    assert [(kill.layer, kill.step) for kill in whole[1]] == [(1, 10)]
    for stop in range(1, 10):
        halfway, _ = advance(SwitchState(), 1, stop)
        read = TypeAdapter(SwitchState).validate_python(json.loads(json.dumps(asdict(halfway))))
        assert read == halfway
        assert advance(read, stop + 1, 10) == whole


def test_a_history_keeps_the_last_values_only() -> None:
    """Kills: a history that grows with the run, and the checkpoints with it."""
    values = {step: {"memory_share": 0.001 * step} for step in range(1, 46)}
    ((_, kill), *_) = fired(values, 1, 0, patient(45))
    assert kill.history == tuple(0.001 * step for step in range(45 - HISTORY + 1, 46))


@pytest.mark.parametrize("preset", preset_names())
def test_every_switch_of_a_preset_can_fire_within_its_run(preset: str) -> None:
    """Kills: a patience as long as the run; a bound at the end of its range; the bound below what health reaches."""
    config = load_config(preset)
    limits, steps = layer_limits(config.kill_switches), config.train.max_steps
    assert all(limit.patience <= steps / 2 for limit in limits)
    assert config.kill_switches.loss_spike_window + config.kill_switches.loss_spike_patience <= steps / 2
    for switch, metric, value in ILL:
        (limit,) = (limit for limit in limits if limit.metric == metric)
        assert limit.switch == switch
        assert not limit.holds(value)
        assert limit.holds(HEALTHY[metric])


# In the loop: a small model is trained, one layer of it is damaged before a step, and what is written is read.

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
TANH = ("model.memory.qk_projection.kind='frobenius_tanh'", "model.memory.qk_projection.gain=5.0")
SOURCE = ("model.gate.kind='source'", "model.gate.floor=0.3")
SHARDS = ("model.memory.shards.length=8", "model.memory.shards.warmup_crossings=1")
# With one step of the quintic polynomial a matrix that is too large grows, and does not overflow.
SCHULZ = ("model.memory.rule='atlas'", "model.memory.newton_schulz.steps=1", "data.sequence_length=8")


def block(run: Run, layer: int) -> MagBlock:
    """Return one block of the model in training."""
    found = as_atlas(run.model).layers[layer]
    assert isinstance(found, Layer)
    return found.mag


def linear(run: Run, layer: int) -> None:
    """Make the gain so small that every tanh gate is linear."""
    block(run, layer).memory.log_gain.data.fill_(-5.0)


def coma(run: Run, layer: int) -> None:
    """Make the gain so large that every tanh gate is saturated."""
    block(run, layer).memory.log_gain.data.fill_(9.0)


def closed(run: Run, layer: int) -> None:
    """Close the gate to the memory; the share of attention goes to one."""
    gate = block(run, layer).gate
    assert isinstance(gate, nn.Linear)
    gate.bias.data.fill_(9.0)


def shut(run: Run, layer: int) -> None:
    """Close the gate of `source`, whose floor keeps the memory in the output all the same."""

    def negative(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        del module, inputs
        return output.abs().neg() - 9.0

    block(run, layer).attention_norm.register_forward_hook(negative)


def swollen(run: Run, layer: int) -> None:
    """Make the values, and with them the momentum that Newton-Schulz starts from, large."""
    memory = block(run, layer).memory
    values = memory.projection.weight.data[-memory.n_heads * memory.value_dim :]
    values.mul_(30.0 / values.norm())


def barely_normalised(matrix: Tensor, offset: float) -> Tensor:
    """Stand in for the normalisation before Newton-Schulz: only matrices of a norm above 3 are touched."""
    del offset
    norm: Tensor = torch.linalg.matrix_norm(matrix, keepdim=True)
    return matrix / (norm / 3.0).clamp(min=1.0)


def confused(run: Run, layer: int) -> None:
    """Forget the vocabulary at every step, so that the loss stays high."""
    del layer
    weight = as_atlas(run.model).embedding.weight.data
    weight.copy_(3.0 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(run.step)))


def mixed(run: Run, layer: int) -> None:
    """Push the learned mixing rate to where a shard inherits everything."""
    block(run, layer).memory.alpha_logit.data.fill_(9.0)


class Fault(NamedTuple):
    """How a layer falls ill, what notices it, and what the config must be."""

    damage: Callable[[Run, int], None]
    switch: str
    metric: str
    overrides: tuple[str, ...]


FAULTS = {
    "linear gates": Fault(linear, "activation", "tanh_linear", TANH),
    "saturated gates": Fault(coma, "saturation", "tanh_saturated", TANH),
    "a closed gate": Fault(closed, "gate_collapse", "memory_share", ()),
    "a closed gate behind a floor": Fault(shut, "gate_collapse", "memory_share", SOURCE),
    "Newton-Schulz without normalisation": Fault(swollen, "newton_schulz", "newton_schulz_error", SCHULZ),
    "an extreme mixing rate": Fault(mixed, "alpha", "m3_alpha", SHARDS),
    "a loss that stays high": Fault(confused, "loss_spike", "loss", ("kill_switches.divergence_margin=1e6",)),
    "a loss that is high before there is a reference": Fault(
        confused, "divergence", "loss", ("kill_switches.loss_spike_window=1000",)
    ),
}


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


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", FAULTS)
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


@pytest.mark.parametrize("stop_at", [BEGIN, FIRES - 1])
@pytest.mark.parametrize("name", ["linear gates", "a closed gate", "an extreme mixing rate", "a loss that stays high"])
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


@pytest.mark.parametrize("overrides", [(), TANH], ids=["plain", "tanh"])
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
    monkeypatch.setattr(loop, "measure_layers", lambda output, config: ())
    monkeypatch.setattr("atlas_ref.blocks.telemetry._spread", lambda raw: _Spread(*(torch.zeros(()),) * 6))
    start(config, tmp_path / "alone")
    assert saved_bytes(tmp_path / "watched") == saved_bytes(tmp_path / "alone")

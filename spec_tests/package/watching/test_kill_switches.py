"""Kill switches: each fires at the step it should, in the layer that is ill, through a resume, and never in health.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict

import pytest
from pydantic import TypeAdapter

from atlas_ref.config import KillSwitchesConfig, RunConfig, load_config, preset_names
from atlas_ref.storage.switch_state import HISTORY, SwitchState
from atlas_ref.watching.kill_switches import Kill, check, layer_limits, spike_bound

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
    state, config = SwitchState(), switches()
    for step in range(1, 1000):
        state, kills = check(state, step, {"loss": 2.0}, [{"state_finite": 1.0}, {}], config)
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

"""Kill switches: when training has to stop, as a pure function of what was measured.

    state, kills = check(state, step, totals, layers, config)

A limit is a range [low, high] of one metric and a patience. A metric outside its range begins a streak, which ends when
it is inside again; the switch fires at the step that makes the streak as long as the patience, so at the first bad step
with a patience of one. Each layer has its own streak. A streak is kept as the step it began at, not as a count, so that
a patience is in steps however often `check` is called, and a resumed run fires where the whole one would have.

| switch        | metric               | fires when                                                            |
|---------------|----------------------|-----------------------------------------------------------------------|
| activation    | tanh_linear          | the tanh gates of a layer stay in their linear region                  |
| saturation    | tanh_saturated       | they stay saturated, so that no gradient passes ("coma")               |
| alpha         | m3_alpha             | the M3 mixing rate stays at an extreme, in models that report one      |
| gate_collapse | memory_share         | the gate of a block stays closed to its memory                         |
| newton_schulz | newton_schulz_error  | the iteration leaves the neighbourhood of orthogonal matrices          |
| loss_spike    | loss                 | the loss stays above median + max(k * 1.4826 * MAD, margin) of the reference |
| divergence    | loss                 | the loss stays above max(ln V, first loss) + margin, V the vocabulary  |
| non_finite    | state, norms, loss, gradients, tensors to be saved | anything is NaN or infinite; at once     |

The reference of the loss is its last `loss_spike_window` values that were in range: a spike does not raise its own bar.
`divergence` needs no reference: ln V is the loss of a uniform guess. A run may not end outside either, whatever its
patience: `unsound_end` fires when the last loss is above ln V + margin, or above the first loss + margin.

Deliberately different from the source systems, where one counter shared by all layers was reset by any healthy layer,
so that five dead layers of six never fired; where it counted checks, made every 100 steps; and where it was not saved.
"""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from atlas_ref.config import RunConfig
from atlas_ref.config.switches import KillSwitchesConfig
from atlas_ref.storage.switch_state import HISTORY, SwitchState

MAD_TO_DEVIATION = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""

CAUSES = {
    "activation": "the gain on the aligned queries is too small, or cannot grow because of the precision it is stored "
    "in, so that the tanh gates only scale what passes through them",
    "saturation": "the gain on the aligned queries has grown too far, so that the tanh gates pass signs and almost no "
    "gradient; its learning rate is the first suspect",
    "alpha": "the mixing of states at shard boundaries has collapsed: the state is either never kept or never renewed",
    "gate_collapse": "the block has stopped listening to its memory, because its reads are of no use or because the "
    "gate has closed faster than they became useful",
    "newton_schulz": "the iteration started from a matrix that was not normalised, with coefficients that do not "
    "converge, or in too low a precision",
    "loss_spike": "a step that was too large for the loss surface (learning rate, clipping) or a stretch of bad data",
    "divergence": "steps that are too large from the start (learning rate, a warm-up that is missing or too short, the "
    "spread of the initial weights): the model is worse than one that has learned nothing and guesses uniformly",
    "non_finite": "an overflow or a division by zero, often after a step that was too large; the history shows whether "
    "it was reached gradually",
}


class Limit(NamedTuple):
    """A switch: the range that a metric should stay in, and the steps for which it may be outside."""

    switch: str
    metric: str
    low: float
    high: float
    patience: int

    def holds(self, value: float) -> bool:
        """Return whether a value is finite and in the range."""
        return math.isfinite(value) and self.low <= value <= self.high


class Kill(BaseModel):
    """Why training stops: what was outside its range, where, since when, and what is the likely cause.

    `subject` is what was outside: the metric, or the tensor that is not finite. `history` is that of the metric.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    switch: str
    layer: int | None
    metric: str
    subject: str
    value: float
    low: float
    high: float
    since: int
    step: int
    patience: int
    history: tuple[float, ...]
    cause: str

    def sentence(self) -> str:
        """Return the kill as one sentence."""
        place = "" if self.layer is None else f"layer {self.layer}, "
        if self.switch == "non_finite":
            return f"kill switch non_finite at step {self.step}: {place}{self.subject} is not finite"
        crossed = f"below {self.low:.4g}" if self.value < self.low else f"above {self.high:.4g}"
        return (
            f"kill switch {self.switch} at step {self.step}: {place}{self.metric} is {self.value:.4g}, {crossed}, "
            f"since step {self.since} (patience {self.patience})"
        )


def layer_limits(config: KillSwitchesConfig) -> tuple[Limit, ...]:
    """Return the limits of every layer; one whose metric a layer does not report is idle there."""
    return (
        Limit("activation", "tanh_linear", -math.inf, config.activation_linear_max, config.activation_patience),
        Limit("saturation", "tanh_saturated", -math.inf, config.saturation_share_max, config.saturation_patience),
        Limit("alpha", "m3_alpha", config.alpha_min, config.alpha_max, config.alpha_patience),
        Limit("gate_collapse", "memory_share", config.gate_share_min, math.inf, config.gate_patience),
        Limit(
            "newton_schulz",
            "newton_schulz_error",
            -math.inf,
            config.newton_schulz_error_max,
            config.newton_schulz_patience,
        ),
        _finite("memory_norm"),
        _finite("momentum_norm"),
        Limit("non_finite", "state_finite", 1.0, 1.0, 1),
    )


def begun(state: SwitchState, loss: float) -> SwitchState:
    """Return a state that knows the first loss of its run, which is `loss` if there was none before it."""
    return replace(state, first_loss=loss) if state.first_loss is None else state


def total_limits(config: RunConfig, state: SwitchState) -> tuple[Limit, ...]:
    """Return the limits of the whole model at the step after those that `state` has seen."""
    switches = config.kill_switches
    highest = spike_bound(switches, state.losses)
    spike = Limit("loss_spike", "loss", -math.inf, highest, switches.loss_spike_patience)
    bound = max(_starts(config, state)) + switches.divergence_margin
    divergence = Limit("divergence", "loss", -math.inf, bound, switches.divergence_patience)
    return (spike, divergence, _finite("loss"), _finite("grad_norm"))


def _starts(config: RunConfig, state: SwitchState) -> tuple[float, ...]:
    """Return the losses that training begins from: ln V, times the weights of the task, and the first one if any."""
    guess = math.log(config.any_model.vocab_size) * config.data.loss_scale
    return (guess,) if state.first_loss is None else (guess, state.first_loss)


def spike_bound(config: KillSwitchesConfig, losses: Sequence[float]) -> float:
    """Return the loss above which a spike begins; infinite until the reference is full."""
    if len(losses) < config.loss_spike_window:
        return math.inf
    middle = statistics.median(losses)
    spread = MAD_TO_DEVIATION * statistics.median(abs(loss - middle) for loss in losses)
    return middle + max(config.loss_spike_deviations * spread, config.loss_spike_margin)


def check(
    state: SwitchState,
    step: int,
    totals: Mapping[str, float],
    layers: Sequence[Mapping[str, float]],
    config: RunConfig,
) -> tuple[SwitchState, tuple[Kill, ...]]:
    """Return the state after `step` (1-based) and the switches that fire; pure, so that the same values fire again.

    `totals` holds at least `loss`; `layers` holds the metrics of each layer (`monitor`).
    """
    loss = totals["loss"]
    state = begun(state, loss)
    whole, each = total_limits(config, state), layer_limits(config.kill_switches)
    readings: list[tuple[Limit, int | None, float]] = [
        (limit, None, totals[limit.metric]) for limit in whole if limit.metric in totals
    ]
    readings += [
        (limit, layer, table[limit.metric])
        for layer, table in enumerate(layers)
        for limit in each
        if limit.metric in table
    ]
    since: dict[str, int] = {}
    history: dict[str, tuple[float, ...]] = {}
    kills = []
    for limit, layer, value in readings:
        key = _key(limit.switch, limit.metric, layer)
        history[key] = (*state.history.get(key, ()), value)[-HISTORY:]
        if limit.holds(value):
            continue
        since[key] = state.since.get(key, step)
        if step - since[key] + 1 >= limit.patience:
            kills.append(_kill(limit, layer, step, since[key], value, history[key]))
    # A loss that is in range of everything joins the reference.
    usual = all(limit.holds(loss) for limit in whole if limit.metric == "loss")
    losses = (*state.losses, loss)[-config.kill_switches.loss_spike_window :] if usual else state.losses
    return SwitchState(since, history, losses, state.first_loss), tuple(kills)


def unsound_end(state: SwitchState, step: int, config: RunConfig) -> Kill | None:
    """Return the kill for a run whose last step, `step`, left it worse than it began or than a guess; None for others.

    Asked of a state alone, so that a run that has nothing left to train is judged by its last step too.
    """
    key = _key("divergence", "loss", None)
    seen = state.history.get(key, ())
    limit = Limit(
        "divergence", "loss", -math.inf, min(_starts(config, state)) + config.kill_switches.divergence_margin, 1
    )
    if not seen or limit.holds(seen[-1]):
        return None
    return _kill(limit, None, step, state.since.get(key, step), seen[-1], seen)


def non_finite(state: SwitchState, step: int, metric: str, subject: str, value: float | None) -> Kill:
    """Return the kill for a value that `check` never sees, because the step could not be finished or not be saved.

    `metric` is the one whose history is shown, and `value` what it would have become, if it is the metric that is not
    finite. The name of a tensor tells its layer.
    """
    found = re.search(r"\blayers\.(\d+)\.", subject)
    layer = int(found.group(1)) if found else None
    seen = state.history.get(_key("non_finite", metric, None), ())
    if value is not None:
        seen = (*seen, value)[-HISTORY:]
    kill = _kill(_finite(metric), layer, step, step, math.nan if value is None else value, seen)
    return kill.model_copy(update={"subject": subject})


def _finite(metric: str) -> Limit:
    return Limit("non_finite", metric, -math.inf, math.inf, 1)


def _key(switch: str, metric: str, layer: int | None) -> str:
    return f"{switch}/{metric}" if layer is None else f"{switch}/{metric}/{layer}"


def _kill(limit: Limit, layer: int | None, step: int, since: int, value: float, history: tuple[float, ...]) -> Kill:
    switch, metric, low, high, patience = limit
    return Kill(
        switch=switch,
        layer=layer,
        metric=metric,
        subject=metric,
        value=value,
        low=low,
        high=high,
        since=since,
        step=step,
        patience=patience,
        history=history,
        cause=CAUSES[switch],
    )

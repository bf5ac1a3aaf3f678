"""What the parts of a batch measured, merged into what the whole batch would have measured.

A batch is cut by rows into parts of equal size (`train.micro_batches`, processes), and every statistic over it follows
from those of the parts by the rule of its field in RULES. A field without a rule is an error, never a guess: a number
that a kill switch sees must not depend on how the batch was cut.

    mean: the mean of means              rms: the root of the mean of squares         least, largest: as they say
    deviation about field m:   sqrt(mean(s_i^2) + mean((m_i - m)^2)),   m = mean(m_i)
    variance about field m:    mean(v_i) + mean((m_i - m)^2)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.models.family import Telemetry

Told = TypeVar("Told", bound=Telemetry)


class Rule(NamedTuple):
    """How a field merges; `about` names the field of the means that a spread is measured about."""

    merge: Callable[[Tensor, Tensor], Tensor]
    about: str | None = None


def _spread(means: Tensor) -> Tensor:
    """Return the variance of the means of equal parts."""
    return (means - means.mean()).square().mean()


MEAN = Rule(lambda values, _: values.mean())
RMS = Rule(lambda values, _: values.square().mean().sqrt())
LEAST = Rule(lambda values, _: values.amin())
LARGEST = Rule(lambda values, _: values.amax())


def _deviation(about: str) -> Rule:
    return Rule(lambda values, means: (values.square().mean() + _spread(means)).sqrt(), about)


def _variance(about: str) -> Rule:
    return Rule(lambda values, means: values.mean() + _spread(means), about)


RULES: dict[str, Rule] = {
    # LayerTelemetry
    "retention": MEAN,
    "momentum_decay": MEAN,
    "step_size": MEAN,
    "window_weight": MEAN,
    "gate_mean": MEAN,
    "gate_std": _deviation("gate_mean"),
    "gate_min": LEAST,
    "gate_max": LARGEST,
    "raw_gate_mean": MEAN,
    "raw_gate_std": _deviation("raw_gate_mean"),
    "raw_gate_min": LEAST,
    "raw_gate_max": LARGEST,
    "gate_collapse_risk": MEAN,
    "gate_polarised": MEAN,
    "gate_undecided": MEAN,
    "memory_norm": RMS,
    "momentum_norm": RMS,
    "read_norm": RMS,
    "omega_loss": MEAN,
    "update_magnitude": RMS,
    "tanh_magnitude": MEAN,
    "tanh_linear": MEAN,
    "tanh_saturated": MEAN,
    "m3_alpha": MEAN,
    # CognateTelemetry, where it has other fields
    "halting_mean": MEAN,
    "halting_std": _deviation("halting_mean"),
    "halting_steps": MEAN,
    "halting_steps_min": LEAST,
    "halting_steps_max": LARGEST,
    "update_ratio": MEAN,
    "memory_usage": MEAN,
    "surprise_rate": MEAN,
    "novelty": MEAN,
    # What the monitor adds.
    "state_finite": LEAST,
    "newton_schulz_error": LARGEST,
    "gate_variance": _variance("gate_mean"),
    "memory_share": MEAN,
}


def merge_columns(parts: Float[Tensor, "parts fields"], names: Sequence[str]) -> Float[Tensor, " fields"]:
    """Return the fields of the whole from those of its parts, by RULES; raise KeyError at a field without a rule.

    `memory_norm.local_1`, of one memory, has the rule of `memory_norm`.
    """
    if missing := [name for name in names if name.partition(".")[0] not in RULES]:
        raise KeyError(f"no rule in RULES says how the field '{missing[0]}' of several parts is merged")
    columns = dict(zip(names, parts.unbind(1), strict=True))
    merged = []
    for name, values in columns.items():
        merge, about = RULES[name.partition(".")[0]]
        merged.append(merge(values, values if about is None else columns[about]))
    return torch.stack(merged) if merged else parts.new_zeros(0)


def merge_telemetry(parts: Sequence[tuple[Told, ...]]) -> tuple[Told, ...]:
    """Return the telemetry of every layer for the whole batch, from that of its parts; computed in float64."""
    if len(parts) == 1:
        return parts[0]
    return tuple(_merge_layer(layer) for layer in zip(*parts, strict=True))


def _merge_layer(parts: Sequence[Told]) -> Told:
    """Merge one layer; a field that is None, as the layer has nothing to measure there, stays None.

    A field may hold such tables itself, one for each memory of a hierarchy.
    """
    names = [name for name, value in parts[0]._asdict().items() if isinstance(value, Tensor)]
    if not names:
        return parts[0]
    table = torch.stack([torch.stack([getattr(part, name).double() for name in names]) for part in parts])
    merged: dict[str, Any] = dict(zip(names, merge_columns(table, names).unbind(), strict=True))
    for name, value in parts[0]._asdict().items():
        if isinstance(value, tuple):
            merged[name] = merge_telemetry([getattr(part, name) for part in parts])
    return type(parts[0])(**{**parts[0]._asdict(), **merged})


def merge_measurements(tables: Float[Tensor, "parts fields"], like: Sequence[Mapping[str, float]]) -> list[Tensor]:
    """Return one vector a layer: the fields of `like`, layer after layer, were laid side by side in `tables`."""
    found = torch.split(tables, [len(table) for table in like], dim=1)
    return [merge_columns(part, list(table)) for part, table in zip(found, like, strict=True)]

"""What a block tells of one call: statistics of its gates, of its memory and of what went through it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.blocks.memory_branch import MemoryBranch, MemoryLayerOutput, MemoryLayerState, Part
from atlas_ref.functional.gate_floor import collapse_risk
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.plan import where_rows
from atlas_ref.memory.rules import Gates

POLARISED, UNDECIDED = 0.4, 0.1
"""A gate is polarised when its sigmoid is further than this from 1/2 (below 0.1 or above 0.9), undecided when nearer
(0.4 to 0.6)."""
LINEAR, SATURATED = 0.5, 1.5
"""Arguments of a tanh gate: up to the first tanh(x) is x to 8%; beyond the second its slope is below 0.19."""


class MemoryTelemetry(NamedTuple):
    """Statistics of one memory of a hierarchy, with the meaning that the fields of `LayerTelemetry` have."""

    retention: Tensor
    momentum_decay: Tensor
    step_size: Tensor
    window_weight: Tensor
    memory_norm: Tensor
    momentum_norm: Tensor
    read_norm: Tensor
    update_magnitude: Tensor | None


class LayerTelemetry(NamedTuple):
    """Statistics over the tokens, rows and heads of one call: means where the name says nothing else.

    `memories` has those of each memory of a hierarchy; what else is said of its gates and memories is of all together.
    Detached 0-d tensors in float32 or wider. `gate_*` is the gate that acts, floor included, `raw_gate_*` the sigmoid
    before it; the shares that are polarised and undecided are of the sigmoid, as a floor of 1/2 polarises none, and so
    is `gate_collapse_risk`, the share below floor + 0.05; in a block without such a gate they are None.
    Norms and the update are roots of the mean square over rows and heads: of ||M||_F, of ||S||_F, and of ||M - M'||_F,
    where M' is the memory at the start of the call, of the row's document or of its shard, whichever is latest. M is
    what is written: the dual of a link, the two moments of `ridge`, which has no S. The update is None where nothing is
    written, and so is `omega_loss` (see `MemoryOutput`), which is of the chunked form alone. The tanh fields are None
    where the Q-K projection has no tanh; `tanh_magnitude` is the mean |x| of its arguments. `m3_alpha` is the learned
    mixing rate at shard borders, sigmoid(alpha_logit), whether or not the ramp before it has ended; None without shards
    or where nothing is written.
    """

    retention: Tensor
    momentum_decay: Tensor
    step_size: Tensor
    window_weight: Tensor
    gate_mean: Tensor | None
    gate_std: Tensor | None
    gate_min: Tensor | None
    gate_max: Tensor | None
    raw_gate_mean: Tensor | None
    raw_gate_std: Tensor | None
    raw_gate_min: Tensor | None
    raw_gate_max: Tensor | None
    gate_collapse_risk: Tensor | None
    gate_polarised: Tensor | None
    gate_undecided: Tensor | None
    memory_norm: Tensor
    momentum_norm: Tensor
    read_norm: Tensor
    omega_loss: Tensor | None
    update_magnitude: Tensor | None
    tanh_magnitude: Tensor | None
    tanh_linear: Tensor | None
    tanh_saturated: Tensor | None
    m3_alpha: Tensor | None
    memories: tuple[MemoryTelemetry, ...] = ()


Means = tuple[Tensor, Tensor, Tensor, Tensor]


class Gate(NamedTuple):
    """The sigmoid that a block gates with, detached, and the floor that was put under it, of all or of each token."""

    raw: Float[Tensor, "*batch dim"]
    floor: float | Float[Tensor, "*batch 1"]


@torch.no_grad()
def summarise(
    layer: MemoryBranch[Any], before: MemoryLayerState[Any], remembered: MemoryLayerOutput, gate: Gate | None
) -> LayerTelemetry:
    """Summarise one call, into which `layer` went with the state `before`."""
    parts = layer.parts(remembered.state)
    gates = [_means(of_one) for of_one in remembered.gates]
    retention, momentum, step, window = (torch.stack(same).mean() for same in zip(*gates, strict=True))
    mixing_rate = layer.mixing_rate()
    changes: list[Weights] | None = None
    if remembered.wrote:
        time, pairs = remembered.reads.shape[1], zip(layer.parts(before), parts, strict=True)
        changes = [_change(old, new, time) for old, new in pairs]
    return LayerTelemetry(
        retention,
        momentum,
        step,
        window,
        *_gate_statistics(gate),
        _size([matrix for part in parts for matrix in part.state.weights]),
        _size([matrix for part in parts for matrix in _momentum(part)]),
        _read_norm(remembered.reads),
        remembered.omega_loss,
        None if changes is None else _size([matrix for change in changes for matrix in change]),
        *_tanh_statistics(remembered.bounded),
        None if mixing_rate is None else mixing_rate.detach(),
        _each_memory(parts, gates, changes, remembered.each),
    )


class _Acting(NamedTuple):
    """Statistics of the gate that acts and of the sigmoid below its floor, in the order of `LayerTelemetry`."""

    mean: Tensor | None
    deviation: Tensor | None
    least: Tensor | None
    largest: Tensor | None
    raw_mean: Tensor | None
    raw_deviation: Tensor | None
    raw_least: Tensor | None
    raw_largest: Tensor | None
    collapse_risk: Tensor | None
    polarised: Tensor | None
    undecided: Tensor | None


def _gate_statistics(gate: Gate | None) -> _Acting:
    """Return the statistics of a gate, none of a block without."""
    if gate is None:
        return _Acting(*(None,) * 11)
    raw, floor, risk = _spread(gate.raw), gate.floor, collapse_risk(gate.raw, gate.floor)
    if isinstance(floor, Tensor):
        acting = _spread(floor + (1.0 - floor) * gate.raw)[:4]
    else:
        reach = 1.0 - floor
        acting = floor + reach * raw.mean, reach * raw.deviation, floor + reach * raw.least, floor + reach * raw.largest
    return _Acting(*acting, *raw[:4], risk, *raw[4:])


def _each_memory(
    parts: tuple[Part, ...], gates: list[Means], changes: list[Weights] | None, reads: tuple[Tensor, ...]
) -> tuple[MemoryTelemetry, ...]:
    """Return the statistics of each memory of a hierarchy; nothing of a single memory, which has no `reads` of it."""
    return tuple(
        MemoryTelemetry(
            *gates[number],
            _size(parts[number].state.weights),
            _size(_momentum(parts[number])),
            _read_norm(of_one.flatten(-2)),
            None if changes is None else _size(changes[number]),
        )
        for number, of_one in enumerate(reads)
    )


def _means(gates: Gates) -> Means:
    """Return the means of retention, momentum decay, step size and window weight."""
    retention, momentum, step, window = (x.detach().float().mean() for x in gates[:4])
    return retention, momentum, step, window


def _momentum(part: Part) -> Weights:
    """Return S of a memory, zero for `ridge`, which has none."""
    return part.state.momentum or tuple(torch.zeros_like(m) for m in part.state.weights)


def _read_norm(reads: Float[Tensor, "batch time values"]) -> Tensor:
    """Return the root of the mean square over rows and tokens of the norm of what was read."""
    norm: Tensor = torch.linalg.vector_norm(at_least_float32(reads.detach()))
    return norm / math.sqrt(reads.shape[:-1].numel())


def _size(matrices: Sequence[Tensor]) -> Tensor:
    """Return the root of the mean squared Frobenius norm of all matrices of a row and head together."""
    whole: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(m.detach()) for m in matrices]))
    return whole / math.sqrt(matrices[0].shape[:-2].numel())


def _change(before: Part, after: Part, time: int) -> Weights:
    """Return M - M' of each row: M' is M_0 where the row began or its shard did in the call, else the memory before."""
    position, length = after.state.position, after.shard
    since_start = (position - 1) % length + 1 if length else position
    began = since_start <= time
    return tuple(
        m - where_rows(began, m0.expand_as(m1), m1)
        for m, m0, m1 in zip(after.state.weights, after.initial, before.state.weights, strict=True)
    )


class _Spread(NamedTuple):
    """Statistics of a sigmoid, in the order of `LayerTelemetry`."""

    mean: Tensor
    deviation: Tensor
    least: Tensor
    largest: Tensor
    polarised: Tensor
    undecided: Tensor


def _spread(raw: Tensor) -> _Spread:
    """Return mean, standard deviation, least and largest, and the shares that are polarised and undecided."""
    if raw.numel() == 0:
        none = raw.new_full((), torch.nan)
        return _Spread(none, none, none, none, none, none)
    # Over the tokens of the call, so that one layer, or one token, has a deviation: zero, never NaN.
    # In two passes, which on a CPU are twenty times faster than torch.var_mean, and in few buffers: they are large.
    mean = raw.mean()
    buffer = raw - mean
    deviation = buffer.square_().mean().sqrt()
    least, largest = torch.aminmax(raw)
    distance = torch.sub(raw, 0.5, out=buffer).abs_()
    # Marks as floats: a mask is slower to make and to count.
    marks = torch.empty_like(raw)
    polarised = torch.gt(distance, POLARISED, out=marks).mean()
    undecided = torch.lt(distance, UNDECIDED, out=marks).mean()
    return _Spread(mean, deviation, least, largest, polarised, undecided)


def _tanh_statistics(bounded: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the mean size of the arguments of a tanh and the shares in its linear and in its saturated region."""
    if bounded is None:
        return None, None, None
    size = at_least_float32(bounded.detach()).abs()
    # The argument from the value: exact to rounding far beyond SATURATED, and at most 8.7 in float32.
    argument = torch.atanh(size.clamp(max=1.0 - torch.finfo(size.dtype).eps / 2))
    marks = torch.empty_like(argument)
    linear = torch.lt(argument, LINEAR, out=marks).mean()
    return argument.mean(), linear, torch.gt(argument, SATURATED, out=marks).mean()

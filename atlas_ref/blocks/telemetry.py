"""What a block tells of one call: statistics of its gates, of its memory and of what went through it."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.blocks.kernels.choice import kernel_rows
from atlas_ref.blocks.memory_branch import MemoryBranch, MemoryLayerOutput, MemoryLayerState, Part
from atlas_ref.functional.gate_floor import collapse_risk
from atlas_ref.functional.telemetry import (
    GateStatistics,
    change_of_memory,
    gate_statistics,
    size_of_matrices,
    size_of_reads,
    tanh_statistics,
)
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.rules import Gates


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
    gates = [_means(of_one, layer.kernels) for of_one in remembered.gates]
    retention, momentum, step, window = (_of_all(same) for same in zip(*gates, strict=True))
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
        *_of_gate(gate, layer.kernels),
        size_of_matrices([matrix for part in parts for matrix in part.state.weights]),
        size_of_matrices([matrix for part in parts for matrix in _momentum(part)]),
        size_of_reads(remembered.reads),
        remembered.omega_loss,
        None if changes is None else size_of_matrices([matrix for change in changes for matrix in change]),
        *_of_tanh(remembered.bounded),
        None if mixing_rate is None else mixing_rate.detach(),
        _each_memory(parts, gates, changes, remembered.each),
    )


class _OfGate(NamedTuple):
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


def _of_gate(gate: Gate | None, kernels: Kernels) -> _OfGate:
    """Return the statistics of a gate, none of a block without."""
    if gate is None:
        return _OfGate(*(None,) * 11)
    rows = kernel_rows(kernels, gate.raw) if gate.raw.dtype == torch.float32 else None
    found: GateStatistics
    if rows is not None:
        found, risk = rows.spread(gate.raw, gate.floor)
    else:
        found, risk = gate_statistics(gate.raw, gate.floor), collapse_risk(gate.raw, gate.floor)
    return _OfGate(*found[:8], risk, *found[8:])


def _of_tanh(bounded: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the statistics of a tanh, none where there is none."""
    return (None, None, None) if bounded is None else tanh_statistics(bounded)


def _each_memory(
    parts: tuple[Part, ...], gates: list[Means], changes: list[Weights] | None, reads: tuple[Tensor, ...]
) -> tuple[MemoryTelemetry, ...]:
    """Return the statistics of each memory of a hierarchy; nothing of a single memory, which has no `reads` of it."""
    return tuple(
        MemoryTelemetry(
            *gates[number],
            size_of_matrices(parts[number].state.weights),
            size_of_matrices(_momentum(parts[number])),
            size_of_reads(of_one.flatten(-2)),
            None if changes is None else size_of_matrices(changes[number]),
        )
        for number, of_one in enumerate(reads)
    )


def _means(gates: Gates, kernels: Kernels) -> Means:
    """Return the means of retention, momentum decay, step size and window weight."""
    rows = kernel_rows(kernels, gates.retention) if gates.retention.dtype == torch.float32 else None
    if rows is not None and gates.retention.ndim == gates.step.ndim:
        found: Means = rows.means(*gates[:4])
        return found
    retention, momentum, step, window = (x.detach().float().mean() for x in gates[:4])
    return retention, momentum, step, window


def _of_all(means: tuple[Tensor, ...]) -> Tensor:
    """Return the mean of all memories from that of each, of one memory as it is."""
    return torch.stack(means).mean() if len(means) > 1 else means[0]


def _momentum(part: Part) -> Weights:
    """Return S of a memory, zero for `ridge`, which has none."""
    return part.state.momentum or tuple(torch.zeros_like(m) for m in part.state.weights)


def _change(before: Part, after: Part, time: int) -> Weights:
    """Return what a call changed in a memory."""
    position, matrices = after.state.position, (before.state.weights, after.state.weights, after.initial)
    return tuple(change_of_memory(*each, position, time, after.shard) for each in zip(*matrices, strict=True))

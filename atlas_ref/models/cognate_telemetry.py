"""What a call of a model of the family `cognate` tells: statistics of its memory, its gate and its recursion."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_ref.blocks.backbone_memory import Remembered, SlotState
from atlas_ref.functional.slot_memory import slot_usage, surprise_rate
from atlas_ref.metrics.halting import halting
from atlas_ref.models.answers import Answers


class CognateTelemetry(NamedTuple):
    """Statistics of one call; None where a model has no such part.

    `gate_*` of the gate of backbone against memory, `memory_share` the mean weight of the memory, `memory_norm` of its
    running mean and `read_norm` the roots of mean squares over rows and tokens; `memory_usage` the share of slots in
    use after the call, `novelty` the mean over tokens and `surprise_rate` the share that were kept; `halting_*` is when
    tokens or rows halt (`metrics.halting`), `update_ratio` of how far the last iteration moved the answer of each
    token, ||y_N - y_{N-1}|| / ||y_N||.
    """

    update_ratio: Tensor
    halting_mean: Tensor | None = None
    halting_std: Tensor | None = None
    halting_steps: Tensor | None = None
    halting_steps_min: Tensor | None = None
    halting_steps_max: Tensor | None = None
    gate_mean: Tensor | None = None
    gate_std: Tensor | None = None
    gate_min: Tensor | None = None
    gate_max: Tensor | None = None
    memory_share: Tensor | None = None
    read_norm: Tensor | None = None
    memory_norm: Tensor | None = None
    memory_usage: Tensor | None = None
    surprise_rate: Tensor | None = None
    novelty: Tensor | None = None


@torch.no_grad()
def tell(found: Answers, remembered: Remembered | None, surprise: float) -> CognateTelemetry:
    """Return the statistics of a call; `surprise` is the novelty above which a token is kept."""
    *_, before, last = (y.detach().float() for y in found.hidden)
    size = torch.linalg.vector_norm(last, dim=-1).clamp(min=1e-30)
    moved = (torch.linalg.vector_norm(last - before, dim=-1) / size).mean()
    told = CognateTelemetry(moved)
    if found.halting is not None:
        told = CognateTelemetry(moved, *halting(found.halting, found.settings))
    if remembered is None:
        return told
    gate, reads = remembered.gate.detach(), remembered.reads.detach().float()
    told = told._replace(
        gate_mean=gate.mean(),
        gate_std=(gate - gate.mean()).square().mean().sqrt(),
        gate_min=gate.min(),
        gate_max=gate.max(),
        memory_share=1.0 - gate.mean(),
        read_norm=torch.linalg.vector_norm(reads) / math.sqrt(max(1, reads.shape[:-1].numel())),
    )
    for mean in remembered.state.mean:
        told = told._replace(memory_norm=torch.linalg.vector_norm(mean.detach()) / math.sqrt(max(1, len(mean))))
    for slots in remembered.state.slots:
        told = _of_slots(told, slots, remembered.novelty, surprise)
    return told


def _of_slots(told: CognateTelemetry, slots: SlotState, novelty: Tensor | None, surprise: float) -> CognateTelemetry:
    """Add what slots tell; a call without tokens has no novelty."""
    if novelty is None or not novelty.numel():
        return told
    return told._replace(
        memory_usage=slot_usage(slots.read_at),
        surprise_rate=surprise_rate(novelty, surprise),
        novelty=novelty.mean(),
    )

"""The runs over segments by Triton kernels: what `linear` and `orthogonalised` do, for the plainest of memories.

    COORDINATES   U and W of every segment at once        (`coordinates`)
    SCAN          M, S and the anchor over the segments    (`chunk_scan`), the only part that is sequential
    READ          every token at once                      (`reads`)

Under Newton-Schulz M is not linear in what a segment knows at once, so segment follows segment (`orthogonal`).
"""

from functools import lru_cache

import torch
from torch import Tensor

from atlas_ref.functional.newton_schulz import CoefficientSet, step_coefficients
from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.kernels.chunk_scan import chunk_scan
from atlas_ref.memory.kernels.coordinates import mixing
from atlas_ref.memory.kernels.held import Borders, Held
from atlas_ref.memory.kernels.orthogonal import Entering, Iteration, orthogonal_segment
from atlas_ref.memory.kernels.reads import reads
from atlas_ref.memory.orthogonalised import segment_inputs
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients, offset
from atlas_ref.memory.segments import Segments, Start, enter
from atlas_ref.memory.state import Carry, MemoryState


def run_linear_kernels(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Return what `linear.run_linear` does, of a memory that `choice.supports`."""
    keys, values, queries = segments[:3]
    gates = ((write.retention, 1.0), (write.momentum, 1.0), (write.intake, 0.0), (write.release, 0.0))
    window = plan.split(write.window, 0.0).transpose(2, 3)
    retention, momentum, intake, release = (plan.split(gate, pad).transpose(2, 3) for gate, pad in gates)
    mix = mixing(retention, momentum, intake, release, window)
    shares = _shares(rule, keys)
    held = Held(state.weights[0], state.momentum[0], state.anchor[0])
    borders = Borders(*plan.marks, all(opens is True for opens in plan.opens))
    entered, after = chunk_scan(borders, keys, values, shares, mix, start.initial[0], held)
    anchors = entered.weights if entered.anchors is None else entered.anchors
    carry = Carry((after.weights,), (after.momentum,), (after.anchor,))
    if rule.read == "anchor":
        found = predict_with(rule.architecture, (anchors,), queries)
    else:
        found = reads(queries, keys, values, shares, mix, entered, rule.read == "pre")
    return found, carry, _squared_errors(keys, values, anchors)


def run_orthogonal_kernels(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Return what `orthogonalised.run_orthogonalised` does, of a memory that `choice.supports`."""
    keys, values = segments[:2]
    shares = _shares(rule, keys)
    iteration = Iteration(_steps(rule.coefficients, rule.newton_schulz_steps, keys.device), offset(rule))
    carry = Carry(state.weights, state.momentum, state.anchor)
    found, anchors = [], []
    each = zip(shares.unbind(), *(x.unbind() for x in segment_inputs(rule, plan, segments, write)), strict=True)
    for n, (share, k, v, q, *coordinates) in enumerate(each):
        carry = enter(plan, n, start, carry)
        before = (carry.weights[0], carry.momentum[0], carry.anchor[0])
        read, weights, momentum = orthogonal_segment(iteration, Entering(k, v, share, q, *before, *coordinates))
        anchors.append(carry.anchor[0])
        found.append(predict_with(rule.architecture, carry.anchor, q) if rule.read == "anchor" else read)
        carry = Carry((weights,), (momentum,), carry.anchor)
    return torch.stack(found), carry, _squared_errors(keys, values, torch.stack(anchors))


def _shares(rule: MemoryRule, keys: Tensor) -> Tensor:
    """Return 1 / max(1, kappa) of every slot, or 1 where the rule does not divide (`factors`)."""
    return 1.0 / keys.square().sum(-1).clamp(min=1.0) if rule.normalised else torch.ones_like(keys[..., 0])


@torch.no_grad()
def _squared_errors(keys: Tensor, values: Tensor, anchors: Tensor) -> Tensor:
    """Return ||A k - v||^2 of every slot."""
    missed = keys @ anchors.mT - values
    squared: Tensor = torch.linalg.vecdot(missed, missed)
    return squared


@lru_cache(maxsize=16)
def _steps(coefficients: CoefficientSet, steps: int, device: torch.device) -> Tensor:
    """Return the a, b and c of each step where the kernels read them."""
    return torch.tensor(step_coefficients(coefficients, steps), device=device).view(steps, 3)

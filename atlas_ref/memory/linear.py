"""The linear run over segments: only the end of each segment is sequential, and all reads are one product afterwards.

With the coordinates W of `segments`,

    M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x    for any vector x: no M_t is ever formed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from atlas_ref.memory.architecture import predict, predict_with
from atlas_ref.memory.factors import Factors, gradient_factors
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients
from atlas_ref.memory.segments import (
    Segments,
    Start,
    apart,
    coordinates,
    enter,
    seen_by_reads,
    squared_errors,
    weighted_sum,
)
from atlas_ref.memory.state import Carry, MemoryState


def run_linear(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Carry M and S from segment to segment, then read all segments at once; return squared errors too."""
    mixing = coordinates(rule, plan, write)
    carry = Carry(state.weights, state.momentum, state.anchor)
    entered: list[Carry] = []
    factors: list[Factors] = []
    # Taken apart once: indexing segment by segment would make a gradient of full size for each.
    inputs = (segments.keys, segments.values, *apart(mixing.momentum[-1], 1), *apart(mixing.weights[-1], 2))
    each = zip(*(x.unbind() for x in inputs), segments.thresholds(), strict=True)
    for n, (keys, values, u, u_s, w, w_s, w_m, threshold) in enumerate(each):
        carry = enter(plan, n, start, carry)
        found = gradient_factors(rule, carry.anchor, keys, values, threshold)
        entered.append(carry)
        factors.append(found)
        old = zip(carry.weights, carry.momentum, found.left, found.right, strict=True)
        new = [
            (weighted_sum(w, left, right, (w_s, s), (w_m, m)), weighted_sum(u, left, right, (u_s, s)))
            for m, s, left, right in old
        ]
        carry = Carry(tuple(m for m, _ in new), tuple(s for _, s in new), carry.anchor)
    if rule.read == "anchor":
        anchors = tuple(torch.stack(part) for part in zip(*(before.anchor for before in entered), strict=True))
        return predict_with(rule.architecture, anchors, segments.queries), carry, squared_errors(factors)
    return _read_linear(rule, segments.queries, mixing.weights, entered, factors), carry, squared_errors(factors)


def _read_linear(
    rule: MemoryRule, queries: Tensor, coordinates: Tensor, entered: list[Carry], factors: list[Factors]
) -> Tensor:
    """Return the reads of all segments: M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x."""
    mix = seen_by_reads(rule, coordinates)
    layers = []
    for i in range(len(factors[0].left)):
        weights = torch.stack([carry.weights[i] for carry in entered])
        momentum = torch.stack([carry.momentum[i] for carry in entered])
        left, right = torch.stack([f.left[i] for f in factors]), torch.stack([f.right[i] for f in factors])
        layers.append(_mixed_product(mix, weights, momentum, left, right))
    return predict(rule.architecture, layers, queries)


def _mixed_product(
    mix: Tensor, weights: Tensor, momentum: Tensor, left: Tensor, right: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return x_t -> M_t x_t for every token of every segment (module docstring)."""
    inside, share, decay = apart(mix, 2)

    def multiply(x: Tensor) -> Tensor:
        carried = torch.addcmul(decay * (x @ weights.mT), share, x @ momentum.mT)
        return carried + ((x @ right.mT) * inside) @ left

    return multiply

"""The linear run over segments: only the end of each segment is sequential, and all reads are one product afterwards.

With the coordinates W of `segments`,

    M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x    for any vector x: no M_t is ever formed.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from atlas_ref.functional.scan import coordinate_scan
from atlas_ref.memory.architecture import predict, predict_with
from atlas_ref.memory.factors import Factors, gradient_factors
from atlas_ref.memory.linear_products import mixed_product, written
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients
from atlas_ref.memory.segments import Segments, Start, apart, enter, seen_by_reads, squared_errors
from atlas_ref.memory.state import Carry, MemoryState


def run_linear(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Carry M and S from segment to segment, then read all segments at once; return squared errors too."""
    last_u, last_w, coordinates = _coordinates(plan, write)
    carry = Carry(state.weights, state.momentum, state.anchor)
    entered: list[Carry] = []
    factors: list[Factors] = []
    # Taken apart once: indexing segment by segment would make a gradient of full size for each.
    inputs = (segments.keys, segments.values, *apart(last_u, 1), *apart(last_w, 2))
    each = zip(*(x.unbind() for x in inputs), segments.thresholds(), strict=True)
    for n, (keys, values, u, u_s, w, w_s, w_m, threshold) in enumerate(each):
        carry = enter(plan, n, start, carry)
        found = gradient_factors(rule, carry.anchor, keys, values, threshold)
        entered.append(carry)
        factors.append(found)
        old = zip(found.left, found.right, carry.weights, carry.momentum, strict=True)
        weights, momentum = zip(*(written(*matrix, (w, w_s, w_m), (u, u_s)) for matrix in old), strict=True)
        carry = Carry(weights, momentum, carry.anchor)
    if rule.read == "anchor":
        anchors = tuple(torch.stack(part) for part in zip(*(before.anchor for before in entered), strict=True))
        return predict_with(rule.architecture, anchors, segments.queries), carry, squared_errors(factors)
    return _read_linear(rule, segments.queries, coordinates, entered, factors), carry, squared_errors(factors)


def _coordinates(plan: SegmentPlan, write: WriteCoefficients) -> tuple[Tensor, Tensor, Tensor]:
    """Return the last U, the last W and all W in every segment; an empty slot decays nothing and writes nothing."""
    momentum, retention = (plan.split(x, 1.0).movedim(2, 0) for x in (write.momentum, write.retention))
    intake, release = (plan.split(x, 0.0).movedim(2, 0) for x in (write.intake, write.release))
    # By age in the window, oldest first in the slots.
    taken = intake.unsqueeze(-1) * plan.split(write.window, 0.0).movedim(2, 0).flip(-1)
    step = 1 if write.threshold is None else taken.shape[-1]
    return coordinate_scan(momentum, retention, taken, release, step)


def _read_linear(
    rule: MemoryRule, queries: Tensor, coordinates: Tensor, entered: list[Carry], factors: list[Factors]
) -> Tensor:
    """Return the reads of all segments: M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x."""
    mix = seen_by_reads(rule, coordinates)
    layers: list[Callable[[Tensor], Tensor]] = []
    for i in range(len(factors[0].left)):
        weights = torch.stack([carry.weights[i] for carry in entered])
        momentum = torch.stack([carry.momentum[i] for carry in entered])
        left, right = torch.stack([f.left[i] for f in factors]), torch.stack([f.right[i] for f in factors])
        layers.append(partial(mixed_product, mix, left, right, weights, momentum))
    return predict(rule.architecture, layers, queries)

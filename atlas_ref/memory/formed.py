"""The run that forms every memory of a segment: where a link is not linear, or gates do not act on a whole matrix.

The anchor is fixed inside a segment, so S_t is a sum of factors with the coordinates U of `segments`. Then, for each
of its tokens,

    A_t = alpha_t o A_{t-1} + release_t U(S_t),        W_t = link(A_t),        y_t = P_{W_t}(q_t),

with alpha_t one number, one of each row or one of each column, and with `proximal_elastic` the shrinking of `rules`
after each token. All A_t of one segment are held at a time: each is recomputed in the backward pass.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from atlas_ref.functional.scan import linear_scan
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.factors import gradient_factors
from atlas_ref.memory.link import canonical, linked, shrunk
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients, retained, update
from atlas_ref.memory.segments import (
    Segments,
    Start,
    apart,
    momentum_coordinates,
    read_segment,
    segment_by_segment,
    squared_errors,
    weighted_sum,
)
from atlas_ref.memory.state import Carry, MemoryState


def run_formed(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Go from segment to segment with all memories of one of them formed at a time; return squared errors too."""
    # Tokens first: [segments, width, batch, heads, ...]; an empty slot keeps what it finds.
    retention = plan.split(write.retention, 1.0).transpose(1, 2)
    release, step = (plan.split(x, 0.0).transpose(1, 2) for x in (write.release, write.step))
    inputs = (*segments[:3], momentum_coordinates(plan, write).movedim(0, -2), retention, release, step)
    each = zip(segments.thresholds(), *(x.unbind() for x in inputs), strict=True)
    return segment_by_segment(plan, start, state, each, partial(_segment, rule))


def _segment(
    rule: MemoryRule,
    carry: Carry,
    threshold: Tensor | None,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    mixing: Tensor,
    retention: Tensor,
    release: Tensor,
    step: Tensor,
) -> tuple[Tensor, Weights, Weights, Tensor]:
    """Return the reads of one segment, A and S after it, and its squared errors; `mixing` is U."""
    anchor = tuple(linked(rule.link, a) for a in carry.anchor)
    factors = gradient_factors(rule, anchor, keys, values, threshold)
    inside, share = apart(mixing, 1)
    layers: list[Callable[[Tensor], Tensor]] = []
    last_weights, last_momentum = [], []
    for a, s, left, right in zip(carry.weights, carry.momentum, factors.left, factors.right, strict=True):
        momentum = weighted_sum(inside, left.unsqueeze(2), right.unsqueeze(2), (share, s.unsqueeze(2)))
        writes = release[..., None, None] * update(rule, momentum).movedim(2, 0)
        duals = _duals(rule, a, retention, writes, step)
        # Nothing that is read changes: it keeps logits from drifting over many segments (`link`).
        last_weights.append(canonical(rule.link, duals[-1]))
        last_momentum.append(momentum[:, :, -1])
        seen = duals if rule.read == "post" else torch.cat([a.unsqueeze(0), duals[:-1]])
        layers.append(_each_token(linked(rule.link, seen).movedim(0, 2)))
    reads = read_segment(rule, anchor, layers, queries)
    return reads, tuple(last_weights), tuple(last_momentum), squared_errors([factors])


def _duals(rule: MemoryRule, start: Tensor, retention: Tensor, writes: Tensor, step: Tensor) -> Tensor:
    """Return A_t of every token, [tokens, batch, heads, out, in]."""
    if rule.retention == "proximal_elastic":
        found, dual = [], start
        for alpha, write, eta in zip(retention, writes, step, strict=True):
            dual = shrunk(retained(rule, alpha, (dual,))[0] + write, (rule.link.level * eta)[..., None, None])
            found.append(dual)
        return torch.stack(found)
    if rule.gate_axis == "rows":
        return linear_scan(retention, writes, start)
    if rule.gate_axis == "columns":
        return linear_scan(retention, writes.mT, start.mT).mT
    return linear_scan(retention, writes.flatten(-2), start.flatten(-2)).view_as(writes)


def _each_token(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    """Return x_t -> W_t x_t for matrices [batch, heads, tokens, out, in]."""
    return lambda x: (matrices @ x.unsqueeze(-1)).squeeze(-1)

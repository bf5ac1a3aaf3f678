"""The run under Newton-Schulz: segment by segment, NS(S_i) of the tokens that write formed for one of them at a time.

Each segment is recomputed in the backward pass, so that no more than one of them is ever held.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.factors import gradient_factors
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients, update
from atlas_ref.memory.segments import (
    Segments,
    Start,
    apart,
    coordinates,
    read_segment,
    seen_by_reads,
    segment_by_segment,
    squared_errors,
    weighted_sum,
)
from atlas_ref.memory.state import Carry, MemoryState


def run_orthogonalised(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Go from segment to segment with NS(S_i) of the writing tokens of one segment formed at a time."""
    inputs = segment_inputs(rule, plan, segments, write)
    each = zip(segments.thresholds(), *(x.unbind() for x in inputs), strict=True)
    return segment_by_segment(plan, start, state, each, partial(_segment, rule))


def segment_inputs(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients
) -> tuple[Tensor, ...]:
    """Return what each segment is given, segments first: keys, values and queries, and the coordinates of `_segment`:
    of the writing tokens in the momentum, of S in them, the last rows of U, of its S and of W, and the rows for reads.
    """
    mixing = coordinates(rule, plan, write)
    # A slot of no token stands for the last: nothing of it is written.
    index = mixing.writers.clamp(max=plan.width - 1).movedim(-1, 0)[..., None, None]
    writing = mixing.momentum.gather(0, index.expand(-1, -1, -1, *mixing.momentum.shape[3:])).movedim(0, -2)
    rows = (*apart(writing, 1), *apart(mixing.momentum[-1], 1), mixing.weights[-1])
    return (*segments[:3], *rows, seen_by_reads(rule, mixing.weights))


def _segment(
    rule: MemoryRule,
    carry: Carry,
    threshold: Tensor | None,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    writing: Tensor,
    writing_s: Tensor,
    u: Tensor,
    u_s: Tensor,
    w: Tensor,
    mix: Tensor,
) -> tuple[Tensor, Weights, Weights, Tensor]:
    """Return the reads of one segment, M and S after it, and its squared errors.

    NS(S_i) is formed for every token i that writes: [batch, heads, writers, out, in]. u, w: the last rows of U and W;
    u_s and writing_s are their coordinates of S.
    """
    factors = gradient_factors(rule, carry.anchor, keys, values, threshold)
    layers: list[Callable[[Tensor], Tensor]] = []
    last_weights, last_momentum = [], []
    for m, s, left, right in zip(carry.weights, carry.momentum, factors.left, factors.right, strict=True):
        momentum = weighted_sum(writing, left.unsqueeze(2), right.unsqueeze(2), (writing_s, s.unsqueeze(2)))
        updates = torch.cat([update(rule, momentum), m.unsqueeze(2)], 2)
        last_weights.append((w.unsqueeze(-2) @ updates.flatten(-2)).view_as(m))
        last_momentum.append(weighted_sum(u, left, right, (u_s, s)))
        layers.append(_each_token(mix, updates))
    reads = read_segment(rule, carry.anchor, layers, queries)
    return reads, tuple(last_weights), tuple(last_momentum), squared_errors([factors])


def _each_token(mix: Tensor, matrices: Tensor) -> Callable[[Tensor], Tensor]:
    """Return x_t -> sum_i mix[t, i] matrices_i x_t."""

    def multiply(x: Tensor) -> Tensor:
        products = x.unsqueeze(2) @ matrices.mT
        return (products * mix.mT.unsqueeze(-1)).sum(2)

    return multiply

"""The run of a call of one token, which is what decoding makes: one write and one read, with no segment laid out.

    S = theta S' + intake sum_a gamma_a l_a r_a^T,        M = alpha M' + release U(S)

with the factors of the pairs in the token's window at its anchor (`factors`), and M' and S' what the token finds
(`segments.enter`). It is short enough to take every axis of `rules`.
"""

import torch
from torch import Tensor

from atlas_ref.functional.window import in_sight
from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.factors import gradient_factors
from atlas_ref.memory.link import linked
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients, implicit_weight, released, retained
from atlas_ref.memory.segments import Start, enter, squared_errors, weighted_sum
from atlas_ref.memory.state import Carry, MemoryState


def run_one_token(
    rule: MemoryRule,
    plan: SegmentPlan,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
    measured: bool,
) -> tuple[Tensor, Carry, Tensor | None]:
    """Return the reads [batch, 1, heads, values], M, S and xi after the token, and the squared errors of its window.

    `keys` and `values` [batch, window, heads, .] end with the token's own pair. Errors are for who has `measured`.
    """
    carry = enter(plan, 0, start, Carry(state.weights, state.momentum, state.anchor))
    near_keys, near_values = keys.transpose(1, 2), values.transpose(1, 2)
    if keys.shape[1] > 1:
        sight = in_sight(keys.shape[1], plan.position[:, 0], rule.chunk, rule.boundary).flip(-1)[:, None, :, None]
        # Selected, not multiplied by a weight of zero: what is out of sight counts for nothing, whatever it holds.
        near_keys, near_values = (torch.where(sight, x, 0.0) for x in (near_keys, near_values))
    own = write.at(0)
    if rule.at_retained:
        place = retained(rule, own.retention, carry.weights)
    else:
        place = tuple(linked(rule.link, a) for a in carry.anchor)
    threshold = None if own.threshold is None else own.threshold.unsqueeze(-1).expand(near_keys.shape[:-1])
    factors = gradient_factors(rule, place, near_keys, near_values, threshold)
    decay, intake = own.momentum.unsqueeze(-1), own.intake.unsqueeze(-1)
    window = own.window
    if rule.algorithm == "implicit":
        window = implicit_weight(window, own.step.unsqueeze(-1), near_keys.square().sum(-1))
    old = zip(factors.left, factors.right, carry.momentum, strict=True)
    inside = intake * (window if window.shape[-1] == 1 else window.flip(-1))
    momentum = tuple(weighted_sum(inside, left, right, (decay, s)) for left, right, s in old)
    weights = released(rule, own, carry.weights, momentum)
    seen = {"pre": carry.weights, "anchor": carry.anchor, "post": weights}[rule.read]
    reads = predict_with(
        rule.architecture, tuple(linked(rule.link, a) for a in seen), queries.transpose(1, 2)
    ).transpose(1, 2)
    return reads, Carry(weights, momentum, carry.anchor), squared_errors([factors]) if measured else None

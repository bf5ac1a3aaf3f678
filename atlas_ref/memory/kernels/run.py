"""The runs by Triton kernels: what `linear` and `orthogonalised` do, for the plainest of memories.

A linear memory is run from where the layer has its keys, values and queries (`linear_run`). Under Newton-Schulz M is
not linear in what a segment knows at once, so segments are laid out and follow one another (`orthogonal`).
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.kernels.call import Asked, MemoryCall, Ran
from atlas_ref.memory.kernels.held import Decays, Held, Pairs, Sizes
from atlas_ref.memory.kernels.linear_run import Given, linear_run
from atlas_ref.memory.kernels.orthogonal import orthogonal_run
from atlas_ref.memory.kernels.orthogonal_given import Entering, Iteration, shares_of
from atlas_ref.memory.orthogonalised import segment_inputs
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule
from atlas_ref.memory.segments import cross, lay
from atlas_ref.memory.state import Carry

KEPT = 2**26
"""Most numbers of M at the borders of segments that are kept for the backward pass under Newton-Schulz; where there are
more, the forward pass is made again there."""


def run_linear_kernels(call: MemoryCall) -> Ran:
    """Run a linear memory over a call."""
    rule, plan, asked, write, start, state, measured = call
    sizes = sizes_of(rule, plan, asked, state.window_keys.shape[1])
    pairs = Pairs(asked.keys, asked.values, state.window_keys, state.window_values)
    decays = Decays(write.retention, write.momentum, write.intake, write.release, write.window)
    given = Given(asked.queries, pairs, decays, start.initial[0], Held.of(state))
    found, after, errors = linear_run(sizes, plan.table, given, measured)
    return found, after.carry(), None if errors is None else as_laid(plan, errors)


def sizes_of(rule: MemoryRule, plan: SegmentPlan, asked: Asked, past: int) -> Sizes:
    """Return the sizes of a call."""
    batch, time, heads, features = asked.keys.shape
    return Sizes(
        segments=plan.count,
        batch=batch,
        heads=heads,
        time=time,
        tokens=plan.width,
        past=past,
        features=features,
        values=asked.values.shape[-1],
        chunk=rule.chunk if rule.boundary == "truncate" else 0,
        reach=-(-past // rule.chunk) + 1,
        before=rule.read == "pre",
        anchor=rule.read == "anchor",
        normalised=rule.normalised,
        always=all(opens is True for opens in plan.opens),
    )


def as_laid(plan: SegmentPlan, errors: Tensor) -> Tensor:
    """Return the slots of every segment where `segments.lay` has them: the first may have empty ones in front."""
    if plan.front:
        errors = torch.cat([errors[:1].roll(plan.front, -1), errors[1:]])
    return errors


def run_orthogonal_kernels(call: MemoryCall) -> Ran:
    """Run a memory under Newton-Schulz over a call."""
    if call.plan.count * sum(m.numel() for m in call.state.weights) <= KEPT:
        return _run_orthogonal(call)
    found: Ran = checkpoint(_run_orthogonal, call, use_reentrant=False, preserve_rng_state=False)
    return found


def _run_orthogonal(call: MemoryCall) -> Ran:
    """Do what `run_orthogonal_kernels` does, and keep all of it for the backward pass."""
    rule, plan, asked, write, start, state, measured = call
    past_keys, past_values = state.with_window(asked.keys, asked.values)
    segments = lay(rule, plan, past_keys, past_values, asked.queries, write)
    shares = shares_of(rule, segments.keys)
    keys, values, queries, *coordinates, mix = segment_inputs(rule, plan, segments, write)
    entering = Entering._make((keys, values, shares, queries, *coordinates, mix.mT))
    iteration = Iteration.of(rule, keys.device)
    # Where rows begin a shard a new run begins, from what they inherit.
    cuts = [n for n, rows in enumerate(plan.crossings) if n > 0 and rows is not None]
    lengths = [stop - first for first, stop in pairwise([0, *cuts, plan.count])]
    resets, opens = (torch.split(mark, lengths) for mark in plan.table[3:])
    pieces = zip(*(torch.split(x, lengths) for x in entering), strict=True)
    carry, found, anchors = Carry(state.weights, state.momentum, state.anchor), [], []
    for n, restarts, moves, piece in zip([0, *cuts], resets, opens, pieces, strict=True):
        held, given = Held.of(cross(plan, n, start, carry)), Entering._make(piece)
        read, anchor, after = orthogonal_run(iteration, restarts, moves, given, start.initial[0], held)
        found.append(read)
        anchors.append(anchor)
        carry = after.carry()
    entered = torch.cat(anchors)
    seen = predict_with(rule.architecture, (entered,), queries) if rule.read == "anchor" else torch.cat(found)
    reads = plan.join(seen.transpose(2, 3))
    return reads, carry, _squared_errors(keys, values, entered) if measured else None


@torch.no_grad()
def _squared_errors(keys: Tensor, values: Tensor, anchors: Tensor) -> Tensor:
    """Return ||A k - v||^2 of every slot."""
    missed = keys @ anchors.mT - values
    squared: Tensor = torch.linalg.vecdot(missed, missed)
    return squared

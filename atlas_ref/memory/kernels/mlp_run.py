"""The MLP memory over the segments of a call by Triton kernels, forward and backward.

    COORDINATES   U and W of every segment at once                        (`coordinates`), as of a matrix
    ANCHOR        what a segment knows at its anchor, one after another    (`mlp_forward`)
    WRITE         M and S as the next segment enters with them
    READ          the tokens of a group of segments at once                (`mlp_reads`)

and back, group by group from the last: M and S are written again from what the group entered with, then the adjoint of
its reads (`mlp_reads_back`), of its writes and anchors one after another (`mlp_writes_back`, `mlp_anchor_back`), and
the gradients of keys and values (`mlp_keys_back`). Kept are e and two numbers of every slot, and the states of groups.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.call import MemoryCall, Ran
from atlas_ref.memory.kernels.coordinates import in_rows, mixing, mixing_adjoint, window_in_rows
from atlas_ref.memory.kernels.held import Borders, Decays, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.inputs import folded
from atlas_ref.memory.kernels.mlp_held import (
    Known,
    Layers,
    States,
    aliased,
    empty_known,
    empty_passed,
    empty_states,
    empty_units,
    group_of,
)
from atlas_ref.memory.kernels.mlp_launch import (
    Adjoint,
    Call,
    Group,
    empty_adjoint,
    read,
    read_back,
    write,
    write_back,
)
from atlas_ref.memory.kernels.run import as_laid, sizes_of
from atlas_ref.memory.state import Carry


def run_mlp_kernels(call: MemoryCall) -> Ran:
    """Run a memory of two layers over a call."""
    rule, plan, asked, gates, start, state, measured = call
    sizes = sizes_of(rule, plan, asked, state.window_keys.shape[1])
    decays = (gates.retention, gates.momentum, gates.intake, gates.release, gates.window)
    tokens = (asked.queries, asked.keys, asked.values, state.window_keys, state.window_values)
    held = (*start.initial, *state.weights, *state.momentum, *state.anchor)
    apply: Callable[..., tuple[Tensor, ...]] = _MlpRun.apply
    found, *after, errors = apply(sizes, plan.table, *tokens, *decays, *held)
    carry = Carry(tuple(after[:2]), tuple(after[2:4]), tuple(after[4:]))
    return found, carry, as_laid(plan, errors.square().sum(-1)) if measured else None


def _groups(sizes: Sizes) -> list[Group]:
    size = group_of(sizes.segments)
    return [Group(first, min(size, sizes.segments - first)) for first in range(0, sizes.segments, size)]


def _entered(sizes: Sizes, table: Tensor, initial: Layers, before: States) -> States:
    """Return what the first segment enters with: documents that begin restart, and rows in phase re-anchor."""
    restarts, opens = (mark[0, :, None, None, None] != 0 for mark in table[3:])
    m = Layers(*(torch.where(restarts, first, x) for first, x in zip(initial, before.weights, strict=True)))
    s = Layers(*(torch.where(restarts, 0.0, x) for x in before.momentum))
    if sizes.always:
        return States(m, s, m)
    a = (torch.where(opens, new, old) for new, old in zip(m, before.anchors, strict=True))
    return States(m, s, Layers(*a))


def _forward(call: Call, entered: States, kept: list[States] | None) -> tuple[Tensor, States, Known]:
    """Return the reads, the states after the call and what was known, and put those of each group into `kept`."""
    groups = _groups(call.sizes)
    states = empty_states(entered, groups[0].segments + 1)
    found, known = torch.empty_like(call.pairs.values), empty_known(call.sizes, call.initial.outer)
    units = empty_units(call.sizes, call.hidden, call.initial.outer, False)
    states.take(0, entered)
    for group in groups:
        if kept is not None:
            kept.append(states.at(0).copied())
        write(call, group, states, known, True)
        read(call, group, states, known, units, found)
        if group is not groups[-1]:
            states.take(0, states.at(group.segments))
    last, entered_last = states.at(groups[-1].segments), states.at(groups[-1].segments - 1)
    # Where every segment opens, the anchor is what the last one entered with.
    anchors = entered_last.weights if call.sizes.always else last.anchors
    return found, States(*(layers.copied() for layers in (last.weights, last.momentum, anchors))), known


class _MlpRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sizes: Sizes, table: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        tokens = tuple(x.contiguous() for x in flat[:5])
        decays = Decays._make([*(in_rows(gate) for gate in flat[5:9]), window_in_rows(flat[9])])
        initial, *before = (Layers(*(x.float().contiguous() for x in flat[i : i + 2])) for i in (10, 12, 14, 16))
        mix = mixing(sizes, Borders(table, initial.outer), decays)
        call = Call(sizes, table, tokens[0], Pairs._make(tokens[1:]), mix, initial)
        kept: list[States] | None = [] if any(ctx.needs_input_grad) else None
        found, after, known = _forward(call, _entered(sizes, table, initial, States._make(before)), kept)
        if kept is not None:
            states = [x for each in kept for layers in each[: each.apart] for x in layers]
            ctx.save_for_backward(table, *tokens, *decays, *initial, *mix, *known, *states)
        ctx.sizes = sizes
        ctx.mark_non_differentiable(known.errors)
        return (found, *after.weights, *after.momentum, *after.anchors, known.errors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, sizes = ctx.saved_tensors, ctx.sizes
        table, tokens, decays, initial = saved[0], saved[1:6], Decays._make(saved[6:11]), Layers._make(saved[11:13])
        mix, known = Mixing._make(saved[13:18]), Known._make(saved[18:21])
        call = Call(sizes, table, tokens[0], Pairs._make(tokens[1:]), mix, initial)
        kept = list(_kept(sizes, saved[21:]))
        d_found = torch.zeros_like(tokens[2]) if grads[0] is None else grads[0].contiguous()
        to = _backward(call, kept, known, d_found, _asked(kept[0].weights, *grads[1:7]))
        if sizes.past:
            for each, now, old in zip(to.window, to.pairs[:2], to.pairs[2:], strict=True):
                folded(sizes, Borders(table, initial.outer), each, now, old)
        d_decays = mixing_adjoint(sizes, Borders(table, initial.outer), decays, mix, to.summed())
        d_states = (*(x.sum(0) for x in to.first), *to.weights.at(0), *to.momentum.at(0), *to.anchor)
        return (None, None, to.queries, *to.pairs, *d_decays, *d_states)


def _kept(sizes: Sizes, flat: tuple[Tensor, ...]) -> Iterator[States]:
    """Yield the states of groups from tensors side by side."""
    apart = 2 if sizes.always else 3
    for i in range(0, len(flat), 2 * apart):
        yield aliased([Layers(*flat[j : j + 2]) for j in range(i, i + 2 * apart, 2)])


def _asked(like: Layers, *grads: Tensor | None) -> States:
    """Return what is asked of the state after a call."""
    flat = [torch.zeros_like(like[i % 2]) if grad is None else grad for i, grad in enumerate(grads)]
    return States(*(Layers(*flat[i : i + 2]) for i in (0, 2, 4)))


def _backward(call: Call, kept: list[States], known: Known, d_found: Tensor, d_after: States) -> Adjoint:
    """Go from the last group to the first."""
    groups, like = _groups(call.sizes), kept[0]
    slots, given = groups[0].segments + 1, call.initial.outer
    states, to = empty_states(like, slots), empty_adjoint(call, like, slots)
    units, passed = empty_units(call.sizes, call.hidden, given, True), empty_passed(call.sizes, call.hidden, given)
    for gradient, asked in zip(to.anchor, d_after.anchors, strict=True):
        gradient.copy_(asked)
    left = (d_after.weights, d_after.momentum)
    for group, entered in zip(reversed(groups), reversed(kept), strict=True):
        states.take(0, entered)
        write(call, group, states, known, False)
        for layers, behind in zip((to.weights, to.momentum), left, strict=True):
            layers.take(group.segments, behind)
        read_back(call, group, states, known, d_found, units, passed, to)
        write_back(call, group, states, known, d_found, units, passed, to)
        left = (to.weights.at(0), to.momentum.at(0))
    return to

"""The MLP memory over the segments of a call by Triton kernels, forward and backward.

    COORDINATES   U and W of every segment at once       (`coordinates`), as of a matrix
    FORWARD       both matrices, and the reads            (`mlp_forward`)

and back: the adjoint of all but the coordinates (`mlp_backward`), then that of these. Rows and heads run side by side,
segments one after another, as the anchor enters what is written by gelu. Of a segment nothing is kept but its inputs,
its rows of W, and M and S at its border, in float32.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.choice import Asked
from atlas_ref.memory.kernels.coordinates import in_rows, mixing, mixing_adjoint, window_in_rows
from atlas_ref.memory.kernels.held import Borders, Decays, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.mlp_held import Layers, States, Where, empty_states, where_of
from atlas_ref.memory.kernels.mlp_launch import backward, forward
from atlas_ref.memory.kernels.run import as_laid, sizes_of
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import Carry, MemoryState


def run_mlp_kernels(
    rule: MemoryRule,
    plan: SegmentPlan,
    asked: Asked,
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
    measured: bool,
) -> tuple[Tensor, Carry, Tensor | None]:
    """Return what `run.run_linear_kernels` does, of two layers without a window."""
    sizes = sizes_of(rule, plan, asked, 0)
    gates = (write.retention, write.momentum, write.intake, write.release, write.window)
    flat = (asked.queries, asked.keys, asked.values, *gates, *start.initial, *state.weights, *state.momentum)
    apply: Callable[..., tuple[Tensor, ...]] = _MlpRun.apply
    found, *after, errors = apply(sizes, plan.table, measured, *flat, *state.anchor)
    carry = Carry(tuple(after[:2]), tuple(after[2:4]), tuple(after[4:]))
    return found, carry, None if errors is None else as_laid(plan, errors)


class _MlpRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sizes: Sizes, table: Tensor, measured: bool, *flat: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values = (x.contiguous() for x in flat[:3])
        decays = Decays._make([*(in_rows(gate) for gate in flat[3:7]), window_in_rows(flat[7])])
        initial, m, s, anchor = (Layers(*(x.float().contiguous() for x in flat[i : i + 2])) for i in (8, 10, 12, 14))
        where, states = where_of(table), empty_states(sizes, m)
        for slots, before in ((states.m, (anchor, m)), (states.s, (s,))):
            for slot, layers in enumerate(before):
                slots.outer[slot].copy_(layers.outer)
                slots.inner[slot].copy_(layers.inner)
        mix = mixing(sizes, Borders(where.table, initial.outer), decays)
        pairs = Pairs(keys, values, keys[:, :0], values[:, :0])
        found, alike, errors = forward(sizes, where, queries, pairs, mix, initial, states, measured)
        ctx.save_for_backward(queries, keys, values, *decays, *where, *mix, *states.m, *states.s, alike)
        ctx.sizes = sizes
        if errors is not None:
            ctx.mark_non_differentiable(errors)
        # What outlives the call does not keep the borders of its segments.
        after = [x[-1].clone() for x in (*states.m, *states.s)]
        rows = torch.arange(sizes.batch, device=table.device)
        opened = where.opened[-1].long() + 1
        return (found, *after, *(x[opened, rows] for x in states.m), errors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_found: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, sizes = ctx.saved_tensors, ctx.sizes
        queries, keys, values = saved[:3]
        decays, where, mix = Decays._make(saved[3:8]), Where._make(saved[8:10]), Mixing._make(saved[10:15])
        states = States(Layers._make(saved[15:17]), Layers._make(saved[17:19]))
        pairs = Pairs(keys, values, keys[:, :0], values[:, :0])
        # The kernel goes on from them in place.
        d_m, d_s, d_a = (Layers(*(x.contiguous().clone() for x in grads[i : i + 2])) for i in (0, 2, 4))
        d_queries, d_pairs, d_mix, before, d_first = backward(
            sizes, where, queries, pairs, mix, states, saved[19], d_found.contiguous(), (d_m, d_s, d_a)
        )
        d_decays = mixing_adjoint(sizes, Borders(where.table, d_m.outer), decays, mix, d_mix)
        d_states = (*(x.sum(0) for x in d_first), *before[0], *before[1], *before[2])
        return (None, None, None, d_queries, *d_pairs[:2], *d_decays, *d_states)

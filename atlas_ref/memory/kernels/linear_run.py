"""A linear memory over the segments of a call, from where the layer has its inputs to where it wants its reads.

    COORDINATES   U and W of every segment at once        (`coordinates`)
    SCAN          M, S and the anchor over the segments    (`chunk_scan`), the only part that is sequential
    READ          every token at once                      (`reads`)

and back: what the reads miss, the scan in reverse, then all gradients at once (`inputs`), and those of the gates. Keys,
values and queries are read and their gradients written as [batch, time, heads, .], in their own dtype; all that is
summed or carried is float32. Between the passes nothing of a token is kept but its inputs and its row of W.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.chunk_scan import chunk_scan, chunk_scan_adjoint
from atlas_ref.memory.kernels.coordinates import in_rows, mixing, mixing_adjoint, window_in_rows
from atlas_ref.memory.kernels.held import Borders, Decays, Entered, Held, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.inputs import inputs_adjoint
from atlas_ref.memory.kernels.reads import missed_by_reads, reads


class Given(NamedTuple):
    """What a call is given, in the order of the gradients."""

    queries: Float[Tensor, "batch time heads features"]
    pairs: Pairs
    decays: Decays
    initial: Float[Tensor, "heads values features"]
    held: Held


def linear_run(sizes: Sizes, table: Tensor, given: Given, measured: bool) -> tuple[Tensor, Held, Tensor | None]:
    """Return the reads, the state after the call, and where asked for the squared error of every slot (derived)."""
    flat = (given.queries, *given.pairs, *given.decays, given.initial, *given.held)
    apply: Callable[..., tuple[Tensor, ...]] = _LinearRun.apply
    found, weights, momentum, anchor, errors = apply(sizes, table, measured, *flat)
    return found, Held(weights, momentum, anchor), errors


def _apart(flat: tuple[Tensor, ...]) -> Given:
    """Return the parts of what was given side by side."""
    return Given(flat[0], Pairs._make(flat[1:5]), Decays._make(flat[5:10]), flat[10], Held._make(flat[11:]))


class _LinearRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sizes: Sizes, table: Tensor, measured: bool, *flat: Tensor) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        tokens = tuple(x.contiguous() for x in flat[:5])
        gates = (*(in_rows(gate) for gate in flat[5:9]), window_in_rows(flat[9]))
        # Where every segment opens, nobody looks at the anchor before the call.
        states = (*flat[10:13], flat[11] if sizes.always else flat[13])
        given = _apart((*tokens, *gates, *(x.float().contiguous() for x in states)))
        borders = Borders(table, given.initial)
        mix = mixing(sizes, borders, given.decays)
        entered, after = chunk_scan(sizes, borders, given.pairs, mix, given.held)
        found, errors = reads(sizes, borders, given.queries, given.pairs, mix, entered, measured)
        ctx.save_for_backward(*tokens, *gates, *borders, *mix, *entered)
        ctx.sizes = sizes
        if errors is not None:
            ctx.mark_non_differentiable(errors)
        return (found, *after, errors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, sizes = ctx.saved_tensors, ctx.sizes
        queries, pairs, decays = saved[0], Pairs._make(saved[1:5]), Decays._make(saved[5:10])
        borders, mix, entered = Borders._make(saved[10:12]), Mixing._make(saved[12:17]), Entered._make(saved[17:])
        d_found = torch.zeros_like(pairs.values) if grads[0] is None else grads[0].contiguous()
        after = _asked(sizes, borders, *grads[1:4])
        missed = mix.inside if sizes.anchor else missed_by_reads(sizes, borders, queries, pairs, mix, d_found)
        left, d_initial, before = chunk_scan_adjoint(sizes, borders, queries, pairs, mix, missed, d_found, after)
        given = (sizes, borders, queries, pairs, mix)
        d_queries, d_pairs, d_mix = inputs_adjoint(*given, entered, left, missed, d_found)
        del left, missed
        d_decays = mixing_adjoint(sizes, borders, decays, mix, d_mix)
        d_anchor = None if sizes.always else before.anchor
        return (None, None, None, d_queries, *d_pairs, *d_decays, d_initial.sum(0), *before[:2], d_anchor)


def _asked(sizes: Sizes, borders: Borders, *grads: Tensor | None) -> Held | None:
    """Return what is asked of the state after a call, None where nothing is."""
    if all(grad is None for grad in grads):
        return None
    nothing = borders.initial.new_zeros(sizes.batch, *borders.initial.shape)
    return Held._make(nothing if grad is None else grad.contiguous() for grad in grads)

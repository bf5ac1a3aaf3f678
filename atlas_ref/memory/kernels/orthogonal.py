"""One segment under Newton-Schulz: a program for each token that writes, then one for each head and block of values.

    E = (K A^T - V) r,      S_i = (E o U_i)^T K + U[i, S] S,      O_i = NS(S_i)          (`orthogonal_write`)
    M <- sum_i w_i O_i + w_M M,      y_t = sum_i W[t, i] O_i q_t + W[t, M] M q_t          (`orthogonal_read`)

with U the coordinates of the momentum of the tokens that write and W those of the memory in their O_i. A matrix stays
on the chip for all steps of its iteration. The reference is `orthogonalised._segment`; the backward pass forms
everything again from what the segment entered with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.launching import LAUNCH, dense, precision, tile
from atlas_ref.memory.kernels.orthogonal_read import read, read_adjoint
from atlas_ref.memory.kernels.orthogonal_write import write, write_adjoint

VALUE_BLOCK = 16
"""Values of a program that goes over the tokens that write."""


class Iteration(NamedTuple):
    """The steps of Newton-Schulz, [steps, 3] of a, b and c, and what its start adds to the norm."""

    coefficients: Float[Tensor, "steps 3"]
    offset: float


class Entering(NamedTuple):
    """What a segment is given: its tokens, what it enters with, and the coordinates of `orthogonalised._segment`."""

    keys: Float[Tensor, "batch heads slots features"]
    values: Float[Tensor, "batch heads slots values"]
    shares: Float[Tensor, "batch heads slots"]
    queries: Float[Tensor, "batch heads tokens features"]
    weights: Float[Tensor, "batch heads values features"]
    momentum: Float[Tensor, "batch heads values features"]
    anchor: Float[Tensor, "batch heads values features"]
    writing: Float[Tensor, "batch heads writers slots"]
    writing_s: Float[Tensor, "batch heads writers"]
    u: Float[Tensor, "batch heads slots"]
    u_s: Float[Tensor, "batch heads 1"]
    w: Float[Tensor, "batch heads writers_and_m"]
    mix: Float[Tensor, "batch heads tokens writers_and_m"]


def orthogonal_segment(
    iteration: Iteration, entering: Entering
) -> tuple[
    Float[Tensor, "batch heads tokens values"],
    Float[Tensor, "batch heads values features"],
    Float[Tensor, "batch heads values features"],
]:
    """Return the reads of the segment, and M and S after it (ATLAS 2505.23735 Eq. 32-33 in chunks; derived)."""
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Segment.apply
    return apply(iteration, *entering)


class _Sizes(NamedTuple):
    """The sizes of a segment."""

    rows: int
    writers: int
    tokens: int
    slots: int
    features: int
    values: int

    @property
    def blocks(self) -> int:
        """How many blocks the values are cut into, where a program goes over the tokens that write."""
        return -(-self.values // VALUE_BLOCK)

    @classmethod
    def of(cls, given: Entering) -> "_Sizes":
        """Return the sizes of what a segment is given."""
        batch, heads, slots, features = given.keys.shape
        writers, tokens = given.writing.shape[2], given.queries.shape[2]
        return cls(batch * heads, writers, tokens, slots, features, given.values.shape[-1])


class _Segment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, iteration: Iteration, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = Entering._make(dense(*tensors))
        sizes = _Sizes.of(given)
        wide = (tile(sizes.slots), tile(sizes.features))
        updates = given.keys.new_empty(sizes.rows * sizes.writers, sizes.values, sizes.features)
        write[(sizes.rows * sizes.writers,)](
            *given[:3],
            *given[5:9],
            iteration.coefficients,
            updates,
            iteration.offset,
            len(iteration.coefficients),
            sizes.writers,
            *sizes[3:],
            *wide,
            tile(sizes.values),
            precision(),
            **LAUNCH,
        )
        reads = given.queries.new_empty(*given.queries.shape[:-1], sizes.values)
        found = (reads, torch.empty_like(given.weights), torch.empty_like(given.momentum))
        read[(sizes.rows, sizes.blocks)](
            *given[:7],
            *given[9:],
            updates,
            *found,
            *sizes[1:],
            tile(sizes.tokens),
            *wide,
            VALUE_BLOCK,
            precision(),
            **LAUNCH,
        )
        ctx.save_for_backward(*given)
        ctx.iteration, ctx.sizes = iteration, sizes
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, sizes, iteration = Entering._make(ctx.saved_tensors), ctx.sizes, ctx.iteration
        d_reads, d_m, d_s = dense(*grads)
        steps, blocks, wide = len(iteration.coefficients), sizes.blocks, [tile(x) for x in sizes[2:5]]
        scratch = d_m.new_empty(steps, sizes.rows * sizes.writers, sizes.values, sizes.features)
        updates, d_each = torch.empty_like(scratch[0]), torch.empty_like(scratch[0])
        d_writing, d_writing_s, d_w, d_mix = (torch.empty_like(x) for x in (*given[7:9], *given[11:]))
        write_adjoint[(sizes.rows * sizes.writers,)](
            *given[:4],
            *given[5:9],
            *given[11:],
            iteration.coefficients,
            d_reads,
            d_m,
            scratch,
            updates,
            d_each,
            d_writing,
            d_writing_s,
            d_w,
            d_mix,
            iteration.offset,
            steps,
            *sizes[1:],
            *wide,
            tile(sizes.values),
            precision(),
            **LAUNCH,
        )
        # What is summed over values: a part of each block.
        parts = [x.new_empty(blocks, *x.shape) for x in (*given[:4], given.u, given.u_s)]
        parts += [x.new_empty(blocks, *x.shape[:-1]) for x in given[11:]]
        d_values, *whole = (torch.empty_like(x) for x in (given.values, *given[4:7]))
        d_keys, _, d_shares, d_queries, d_u, d_u_s, d_w_m, d_mix_m = parts
        read_adjoint[(sizes.rows, blocks)](
            *given,
            updates,
            d_each,
            d_reads,
            d_m,
            d_s,
            d_keys,
            d_values,
            d_shares,
            d_queries,
            *whole,
            d_u,
            d_u_s,
            d_w_m,
            d_mix_m,
            sizes.rows,
            *sizes[1:],
            *wide,
            VALUE_BLOCK,
            precision(),
            **LAUNCH,
        )
        d_w[..., -1], d_mix[..., -1] = d_w_m.sum(0), d_mix_m.sum(0)
        tokens = (d_keys.sum(0), d_values, d_shares.sum(0), d_queries.sum(0))
        return (None, *tokens, *whole, d_writing, d_writing_s, d_u.sum(0), d_u_s.sum(0), d_w, d_mix)

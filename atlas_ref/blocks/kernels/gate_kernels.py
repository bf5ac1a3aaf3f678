"""Gates of a memory from what was projected, one pass over the tokens: a share, scaled, and rounded once.

    g = c s,  s = sigmoid(x);        dx = c s (1 - s) dg

c is 1 for retention and window weights, and of momentum decay and step size the largest there is. A row of x is these
three of each head, then the weights of each age, a head after another, and what a product is padded by.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.launching import compiled, tile

ROWS: Final = 32
"""Tokens of a program."""


@compiled
def _gates(
    raw: tl.tensor,
    made: tl.tensor,
    TOKENS: tl.tensor,
    HEADS: tl.tensor,
    COLUMNS: tl.tensor,
    PADDED: tl.tensor,
    MOMENTUM: tl.tensor,
    STEP: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    token, column = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    mask = (token < TOKENS)[:, None] & (column < COLUMNS)[None, :]
    most = tl.where(column // HEADS == 1, MOMENTUM, tl.where(column // HEADS == 2, STEP, 1.0))
    share = tl.sigmoid(tl.load(raw + token[:, None] * PADDED + column[None, :], mask=mask, other=0.0).to(tl.float32))
    tl.store(made + token[:, None] * COLUMNS + column[None, :], share * most[None, :], mask=mask)


@compiled
def _gates_adjoint(
    raw: tl.tensor,
    d_retention: tl.tensor,
    d_momentum: tl.tensor,
    d_step: tl.tensor,
    d_window: tl.tensor,
    d_raw: tl.tensor,
    TOKENS: tl.tensor,
    HEADS: tl.tensor,
    COLUMNS: tl.tensor,
    PADDED: tl.tensor,
    MOMENTUM: tl.tensor,
    STEP: tl.tensor,
    AGES: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    token, column = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    there, kind, head = (token < TOKENS)[:, None], column // HEADS, column % HEADS
    held = (column < COLUMNS)[None, :]
    most = tl.where(kind == 1, MOMENTUM, tl.where(kind == 2, STEP, 1.0))
    place = token[:, None] * HEADS + head[None, :]
    slope = tl.load(d_retention + place, mask=there & (kind == 0)[None, :], other=0.0)
    slope += tl.load(d_momentum + place, mask=there & (kind == 1)[None, :], other=0.0)
    slope += tl.load(d_step + place, mask=there & (kind == 2)[None, :], other=0.0)
    of_age = there & held & (kind > 2)[None, :]
    slope += tl.load(d_window + place * AGES + (kind - 3)[None, :], mask=of_age, other=0.0)
    entry = token[:, None] * PADDED + column[None, :]
    share = tl.sigmoid(tl.load(raw + entry, mask=there & held, other=0.0).to(tl.float32))
    # Nothing was made of what the product is padded by, and its slope is zero.
    tl.store(d_raw + entry, share * (1.0 - share) * slope * most[None, :], mask=there & (column < PADDED)[None, :])


def gates(
    raw: Float[Tensor, "batch time padded"], heads: int, ages: int, momentum: float, step: float
) -> tuple[
    Float[Tensor, "batch time heads"],
    Float[Tensor, "batch time heads"],
    Float[Tensor, "batch time heads"],
    Float[Tensor, "batch time heads ages"],
]:
    """Return retention, momentum decay, step size and window weights in float32; the largest of the second and third
    are given.
    """
    apply: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = _Gates.apply
    return apply(raw, heads, ages, momentum, step)


class _Gates(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, raw: Tensor, heads: int, ages: int, momentum: float, step: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        raw = raw.contiguous()
        batch, time, padded = raw.shape
        columns = (3 + ages) * heads
        made = raw.new_empty(batch, time, columns, dtype=torch.float32)
        sizes = batch * time, heads, columns, padded, momentum, step
        _gates[(-(-batch * time // ROWS),)](raw, made, *sizes, tile(padded), ROWS)
        ctx.save_for_backward(raw)
        ctx.sizes, ctx.ages = sizes, ages
        ctx.set_materialize_grads(False)
        of_head = made.view(batch, time, 3 + ages, heads)
        retention, decay, size = of_head[:, :, :3].unbind(2)
        return retention, decay, size, of_head[:, :, 3:].mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (raw,) = ctx.saved_tensors
        (tokens, heads, _, padded, _, _), ages = ctx.sizes, ctx.ages
        shapes = (*((tokens, heads),) * 3, (tokens, heads, ages))
        slopes = (
            raw.new_zeros(shape, dtype=torch.float32) if grad is None else grad.contiguous()
            for grad, shape in zip(grads, shapes, strict=True)
        )
        d_raw = torch.empty_like(raw)
        _gates_adjoint[(-(-tokens // ROWS),)](raw, *slopes, d_raw, *ctx.sizes, ages, tile(padded), ROWS)
        return d_raw, None, None, None, None

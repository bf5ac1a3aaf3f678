"""From projected hidden states to queries and keys, and values: convolution, SiLU and l2 norm in one pass.

    y_t = sum_j w[:, K-1-j] x_{t-j} over 0 <= j <= min(K-1, position_t),    a = s y sigmoid(y) / (||.||^2 + eps^2)^{1/2}

for the heads of queries and keys, and y itself for values. s is 1, or for features of degree one the root of their
coefficient (`functional.polynomial`), so that they need no pass of their own. A program has some tokens of one head.
References are `functional.convolution`, and the SiLU and `functional.normalize.l2_normalize` of `blocks.memory_branch`.
What a token may not see is not loaded, so nothing of it counts, whatever it holds.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.call import Widths
from atlas_ref.memory.kernels.front_parts import filtered, length_of, of_head
from atlas_ref.memory.kernels.launching import block_of, compiled, tile
from atlas_ref.memory.kernels.sums import summed

TOKENS: Final = 32
SIDE: Final = 32
"""Tokens of a program that are held at once, and channels where those of a head need not be together."""


def front(
    projected: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels kernel"],
    tail: Float[Tensor, "batch kernel_minus_1 channels"],
    position: Int[Tensor, "batch time"],
    scale: Float[Tensor, " 1"] | None,
    widths: Widths,
    dtype: torch.dtype,
) -> tuple[
    Float[Tensor, "batch time heads key"],
    Float[Tensor, "batch time heads key"],
    Float[Tensor, "batch time heads value"],
]:
    """Return queries and keys of length s, and values (decision `addresses`).

    Computed in float32 and rounded to `dtype`. Without a `scale` s is 1.
    """
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Front.apply
    return apply(projected, weight, tail, position, scale, widths, dtype)


@compiled
def _front(
    x: tl.tensor,
    weight: tl.tensor,
    tail: tl.tensor,
    position: tl.tensor,
    scale: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    HEADS: tl.tensor,
    EPS: tl.tensor,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
    SCALED: tl.constexpr,
) -> None:
    row, begin = block_of(TIME, TOKENS)
    row, t = row.to(tl.int64), tl.arange(0, TOKENS)
    kind, first, size = of_head(KEYS, VALUES, HEADS)
    width = tl.arange(0, TILE)
    held = width < size
    there = (begin + t < TIME)[:, None] & held[None, :]
    place = tl.load(position + row * TIME + begin + t, mask=begin + t < TIME, other=0)
    y = filtered(x, tail, weight, row, begin, t, place, first + width, held, TIME, CHANNELS, KERNEL, TOKENS, TILE)
    first_out = ((row * TIME + begin) * HEADS + tl.program_id(1) % HEADS) * size
    out = (t * HEADS)[:, None] * size + width[None, :]
    if kind == 2:
        tl.store(values + first_out + out, y, mask=there)
    else:
        z = y * tl.sigmoid(y)
        z = z / length_of(z, EPS)[:, None]
        if SCALED:
            z = z * tl.load(scale)
        tl.store(queries + first_out + out, z, mask=there & (kind == 0))
        tl.store(keys + first_out + out, z, mask=there & (kind == 1))


@compiled
def _front_adjoint(
    x: tl.tensor,
    weight: tl.tensor,
    tail: tl.tensor,
    position: tl.tensor,
    scale: tl.tensor,
    d_queries: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    d_filtered: tl.tensor,
    d_scale: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    HEADS: tl.tensor,
    EPS: tl.tensor,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
    SCALED: tl.constexpr,
) -> None:
    row, begin = block_of(TIME, TOKENS)
    row, t = row.to(tl.int64), tl.arange(0, TOKENS)
    kind, first, size = of_head(KEYS, VALUES, HEADS)
    width = tl.arange(0, TILE)
    held, channel = width < size, first + width
    there = (begin + t < TIME)[:, None] & held[None, :]
    place = tl.load(position + row * TIME + begin + t, mask=begin + t < TIME, other=0)
    first_out = ((row * TIME + begin) * HEADS + tl.program_id(1) % HEADS) * size
    out = (t * HEADS)[:, None] * size + width[None, :]
    d_y = tl.load(d_queries + first_out + out, mask=there & (kind == 0), other=0.0).to(tl.float32)
    d_y += tl.load(d_keys + first_out + out, mask=there & (kind == 1), other=0.0).to(tl.float32)
    d_y += tl.load(d_values + first_out + out, mask=there & (kind == 2), other=0.0).to(tl.float32)
    of_scale = 0.0
    if kind < 2:
        y = filtered(x, tail, weight, row, begin, t, place, channel, held, TIME, CHANNELS, KERNEL, TOKENS, TILE)
        share = tl.sigmoid(y)
        length = length_of(y * share, EPS)[:, None]
        unit = y * share / length
        if SCALED:
            of_scale = tl.sum(unit * d_y)
            d_y = d_y * tl.load(scale)
        d_y = (d_y - unit * tl.sum(unit * d_y, 1)[:, None]) / length
        d_y = d_y * share * (1.0 + y * (1.0 - share))
    rows = d_filtered + (row * TIME + begin) * CHANNELS
    tl.store(rows + t[:, None] * CHANNELS + channel[None, :], d_y, mask=there)
    tl.store(d_scale + tl.program_id(0) * HEADS * 3 + tl.program_id(1), of_scale)


@compiled
def _front_inputs(
    x: tl.tensor,
    weight: tl.tensor,
    tail: tl.tensor,
    position: tl.tensor,
    d_filtered: tl.tensor,
    d_x: tl.tensor,
    d_tail: tl.tensor,
    d_weight: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    row, begin = block_of(TIME + KERNEL - 1, TOKENS)
    # The tail stands before the call: its tokens are -(K-1) to -1.
    row, begin, t = row.to(tl.int64), begin - (KERNEL - 1), tl.arange(0, TOKENS)
    channel = tl.program_id(1) * TILE + tl.arange(0, TILE)
    held, token = channel < CHANNELS, begin + t
    now, old = (row * TIME + begin) * CHANNELS, (row * (KERNEL - 1) + KERNEL - 1 + begin) * CHANNELS
    entry = t[:, None] * CHANNELS + channel[None, :]
    in_call, in_tail = ((token >= 0) & (token < TIME))[:, None] & held[None, :], (token < 0)[:, None] & held[None, :]
    given = tl.load(x + now + entry, mask=in_call, other=0.0).to(tl.float32)
    given += tl.load(tail + old + entry, mask=in_tail, other=0.0).to(tl.float32)
    found = tl.zeros([TOKENS, TILE], tl.float32)
    for j in tl.static_range(KERNEL):
        later = token + j
        inside = (later >= 0) & (later < TIME)
        seen = inside & (tl.load(position + row * TIME + later, mask=inside, other=0) >= j)
        there = seen[:, None] & held[None, :]
        d_y = tl.load(d_filtered + (now + j * CHANNELS) + entry, mask=there, other=0.0).to(tl.float32)
        factor = (KERNEL - 1 - j) * CHANNELS + channel
        found += tl.load(weight + factor, mask=held, other=0.0).to(tl.float32)[None, :] * d_y
        part = d_weight + tl.program_id(0).to(tl.int64) * KERNEL * CHANNELS
        # Selected: what no token sees may be infinite.
        tl.store(part + factor, tl.sum(tl.where(there, given * d_y, 0.0), 0), mask=held)
    tl.store(d_x + now + entry, found, mask=in_call)
    tl.store(d_tail + old + entry, found, mask=in_tail)


class _Front(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        weight: Tensor,
        tail: Tensor,
        position: Tensor,
        scale: Tensor | None,
        widths: Widths,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Weights of an age side by side, as a program reads them.
        given = tuple(x.contiguous() for x in (projected, weight.T, tail, position))
        batch, time = position.shape
        shape = (batch, time, widths.heads)
        queries, keys = (projected.new_empty(*shape, widths.key, dtype=dtype) for _ in range(2))
        found = (queries, keys, projected.new_empty(*shape, widths.value, dtype=dtype))
        grid = (batch * -(-time // TOKENS), 3 * widths.heads)
        _front[grid](*given, weight if scale is None else scale, *found, *_sizes(given, widths), scale is not None)
        ctx.save_for_backward(*given, scale)
        ctx.widths = widths
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (*given, scale), widths = ctx.saved_tensors, ctx.widths
        projected, weight, tail = given[:3]
        batch, time, channels = projected.shape
        kernel, scaled = len(weight), scale is not None
        d_filtered = torch.empty_like(projected)
        programs = batch * -(-time // TOKENS)
        of_scale = projected.new_empty(programs, 3 * widths.heads, dtype=torch.float32)
        _front_adjoint[(programs, 3 * widths.heads)](
            *given,
            scale if scaled else weight,
            *(grad.contiguous() for grad in grads),
            d_filtered,
            of_scale,
            *_sizes(given, widths),
            scaled,
        )
        d_x, d_tail = torch.empty_like(projected), torch.empty_like(tail)
        grid = (batch * -(-(time + kernel - 1) // TOKENS), -(-channels // SIDE))
        parts = projected.new_empty(grid[0], kernel, channels, dtype=torch.float32)
        sizes = (time, channels, kernel, TOKENS, SIDE)
        _front_inputs[grid](*given, d_filtered, d_x, d_tail, parts, *sizes, num_warps=2)
        d_scale = of_scale.sum().view(1) if scaled else None
        d_weight = summed(parts.view(1, grid[0], -1)).view_as(weight)
        return d_x, d_weight.T.to(weight.dtype), d_tail, None, d_scale, None, None


def _sizes(given: Sequence[Tensor], widths: Widths) -> tuple[float, ...]:
    """Return the sizes that both kernels take, in their order."""
    (_, time, channels), kernel = given[0].shape, len(given[1])
    side = tile(max(widths.key, widths.value))
    return (time, channels, widths.heads, widths.eps, widths.key, widths.value, kernel, TOKENS, side)

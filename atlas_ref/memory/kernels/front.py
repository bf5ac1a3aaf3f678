"""From projected hidden states to unit queries and keys, and values: convolution, SiLU and l2 norm in one pass.

    y_t = sum_j w[:, K-1-j] x_{t-j} over 0 <= j <= min(K-1, position_t),      a = y sigmoid(y) / (||.||^2 + eps^2)^{1/2}

for the heads of queries and keys, and y itself for values. A program has some tokens of one head. References are
`functional.convolution`, and the SiLU and `functional.normalize.l2_normalize` of `blocks.memory_branch`. What a token
may not see is not loaded, so nothing of it counts, whatever it holds.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.choice import Widths
from atlas_ref.memory.kernels.launching import compiled, tile

TOKENS = 32
"""Tokens of a program."""


def front(
    projected: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels kernel"],
    tail: Float[Tensor, "batch kernel_minus_1 channels"],
    position: Int[Tensor, "batch time"],
    widths: Widths,
) -> tuple[Float[Tensor, "2 batch time heads key"], Float[Tensor, "batch time heads value"]]:
    """Return queries and keys of unit length, and values, in float32 (decision `addresses`)."""
    apply: Callable[..., tuple[Tensor, Tensor]] = _Front.apply
    return apply(projected, weight, tail, position, widths)


@compiled
def _inputs(
    x: tl.tensor,
    tail: tl.tensor,
    row: tl.tensor,
    t: tl.tensor,
    place: tl.tensor,
    channel: tl.tensor,
    held: tl.tensor,
    J: tl.constexpr,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
) -> tl.tensor:
    """Return the inputs of age J of some tokens, zero where they are of another context."""
    then = t - J
    seen = (t < TIME) & (place >= J)
    now = tl.load(
        x + (row * TIME + then)[:, None] * CHANNELS + channel[None, :],
        mask=(seen & (then >= 0))[:, None] & held[None, :],
        other=0.0,
    ).to(tl.float32)
    old = row * (KERNEL - 1) + KERNEL - 1 + then
    return now + tl.load(
        tail + old[:, None] * CHANNELS + channel[None, :],
        mask=(seen & (then < 0))[:, None] & held[None, :],
        other=0.0,
    ).to(tl.float32)


@compiled
def _filtered(
    x: tl.tensor,
    tail: tl.tensor,
    weight: tl.tensor,
    row: tl.tensor,
    t: tl.tensor,
    place: tl.tensor,
    channel: tl.tensor,
    held: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
) -> tl.tensor:
    """Return y."""
    y = tl.zeros([TOKENS, TILE], tl.float32)
    for j in tl.static_range(KERNEL):
        factor = tl.load(weight + channel * KERNEL + KERNEL - 1 - j, mask=held, other=0.0).to(tl.float32)
        y += factor[None, :] * _inputs(x, tail, row, t, place, channel, held, j, TIME, CHANNELS, KERNEL)
    return y


@compiled
def _length(z: tl.tensor, EPS: tl.tensor) -> tl.tensor:
    """Return (||z||^2 + eps^2)^{1/2} of each row, squaring nothing above one."""
    largest = tl.maximum(tl.max(tl.abs(z), 1), EPS)
    scaled = z / largest[:, None]
    return largest * tl.sqrt(tl.sum(scaled * scaled, 1) + (EPS / largest) * (EPS / largest))


@compiled
def _forward(
    x: tl.tensor,
    weight: tl.tensor,
    tail: tl.tensor,
    position: tl.tensor,
    found: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    FIRST: tl.tensor,
    ROWS: tl.tensor,
    HEADS: tl.tensor,
    EPS: tl.tensor,
    WIDTH: tl.constexpr,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
    ADDRESS: tl.constexpr,
) -> None:
    blocks = tl.cdiv(TIME, TOKENS)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    t = (tl.program_id(0) % blocks) * TOKENS + tl.arange(0, TOKENS)
    head = tl.program_id(1)
    width = tl.arange(0, TILE)
    held, channel = width < WIDTH, FIRST + head * WIDTH + width
    place = tl.load(position + row * TIME + t, mask=t < TIME, other=0)
    y = _filtered(x, tail, weight, row, t, place, channel, held, TIME, CHANNELS, KERNEL, TOKENS, TILE)
    if ADDRESS:
        z = y * tl.sigmoid(y)
        y = z / _length(z, EPS)[:, None]
    out = (((head // HEADS) * ROWS + row) * TIME + t) * HEADS + head % HEADS
    tl.store(found + out[:, None] * WIDTH + width[None, :], y, mask=(t < TIME)[:, None] & held[None, :])


@compiled
def _backward(
    x: tl.tensor,
    weight: tl.tensor,
    tail: tl.tensor,
    position: tl.tensor,
    d_found: tl.tensor,
    d_filtered: tl.tensor,
    d_weight: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    FIRST: tl.tensor,
    ROWS: tl.tensor,
    HEADS: tl.tensor,
    EPS: tl.tensor,
    WIDTH: tl.constexpr,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
    ADDRESS: tl.constexpr,
) -> None:
    blocks = tl.cdiv(TIME, TOKENS)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    t = (tl.program_id(0) % blocks) * TOKENS + tl.arange(0, TOKENS)
    head = tl.program_id(1)
    width = tl.arange(0, TILE)
    held, channel = width < WIDTH, FIRST + head * WIDTH + width
    there = (t < TIME)[:, None] & held[None, :]
    place = tl.load(position + row * TIME + t, mask=t < TIME, other=0)
    out = (((head // HEADS) * ROWS + row) * TIME + t) * HEADS + head % HEADS
    d_y = tl.load(d_found + out[:, None] * WIDTH + width[None, :], mask=there, other=0.0)
    if ADDRESS:
        y = _filtered(x, tail, weight, row, t, place, channel, held, TIME, CHANNELS, KERNEL, TOKENS, TILE)
        share = tl.sigmoid(y)
        length = _length(y * share, EPS)[:, None]
        unit = y * share / length
        d_y = (d_y - unit * tl.sum(unit * d_y, 1)[:, None]) / length
        d_y = d_y * share * (1.0 + y * (1.0 - share))
    tl.store(d_filtered + (row * TIME + t)[:, None] * CHANNELS + channel[None, :], d_y, mask=there)
    part = tl.program_id(0).to(tl.int64) * CHANNELS
    for j in tl.static_range(KERNEL):
        seen = _inputs(x, tail, row, t, place, channel, held, j, TIME, CHANNELS, KERNEL)
        tl.store(d_weight + (part + channel) * KERNEL + KERNEL - 1 - j, tl.sum(seen * d_y, 0), mask=held)


@compiled
def _to_inputs(
    weight: tl.tensor,
    position: tl.tensor,
    d_filtered: tl.tensor,
    d_x: tl.tensor,
    d_tail: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    blocks = tl.cdiv(TIME + KERNEL - 1, TOKENS)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    # The tail stands before the call: its tokens are -(K-1) to -1.
    t = (tl.program_id(0) % blocks) * TOKENS + tl.arange(0, TOKENS) - (KERNEL - 1)
    channel = tl.program_id(1) * TILE + tl.arange(0, TILE)
    held = channel < CHANNELS
    found = tl.zeros([TOKENS, TILE], tl.float32)
    for j in tl.static_range(KERNEL):
        later = t + j
        inside = (later >= 0) & (later < TIME)
        seen = inside & (tl.load(position + row * TIME + later, mask=inside, other=0) >= j)
        d_y = tl.load(
            d_filtered + (row * TIME + later)[:, None] * CHANNELS + channel[None, :],
            mask=seen[:, None] & held[None, :],
            other=0.0,
        )
        found += tl.load(weight + channel * KERNEL + KERNEL - 1 - j, mask=held, other=0.0).to(tl.float32)[None, :] * d_y
    now, old = (row * TIME + t)[:, None] * CHANNELS, (row * (KERNEL - 1) + t + KERNEL - 1)[:, None] * CHANNELS
    in_call = (t >= 0) & (t < TIME)
    tl.store(d_x + now + channel[None, :], found, mask=in_call[:, None] & held[None, :])
    tl.store(d_tail + old + channel[None, :], found, mask=(t < 0)[:, None] & held[None, :])


class _Front(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, weight: Tensor, tail: Tensor, position: Tensor, widths: Widths
    ) -> tuple[Tensor, Tensor]:
        given = tuple(x.contiguous() for x in (projected, weight, tail, position))
        batch, time = position.shape
        addresses = tail.new_empty(2, batch, time, widths.heads, widths.key, dtype=torch.float32)
        values = tail.new_empty(batch, time, widths.heads, widths.value, dtype=torch.float32)
        for found, launch in zip((addresses, values), _launches(given, widths), strict=True):
            grid, sizes = launch
            _forward[grid](*given, found, *sizes)
        ctx.save_for_backward(*given)
        ctx.widths = widths
        return addresses, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, widths = ctx.saved_tensors, ctx.widths
        projected, weight, tail, position = given
        batch, time, channels = projected.shape
        kernel = weight.shape[1]
        d_filtered = tail.new_empty(projected.shape, dtype=torch.float32)
        launches = _launches(given, widths)
        parts = tail.new_empty(launches[0][0][0], channels, kernel, dtype=torch.float32)
        for grad, launch in zip(grads, launches, strict=True):
            grid, sizes = launch
            _backward[grid](*given, grad.contiguous(), d_filtered, parts, *sizes)
        d_x, d_tail = torch.empty_like(projected), torch.empty_like(tail)
        side = 64
        grid = (batch * -(-(time + kernel - 1) // TOKENS), -(-channels // side))
        _to_inputs[grid](weight, position, d_filtered, d_x, d_tail, time, channels, kernel, TOKENS, side)
        return d_x, parts.sum(0).to(weight.dtype), d_tail, None, None


def _launches(given: tuple[Tensor, ...], widths: Widths) -> list[tuple[tuple[int, int], tuple[float, ...]]]:
    """Return grid and sizes of the two launches: for queries and keys together, and for values."""
    (batch, time, channels), kernel = given[0].shape, given[1].shape[1]
    launches: list[tuple[tuple[int, int], tuple[float, ...]]] = []
    for first, heads, width, address in (
        (0, 2 * widths.heads, widths.key, True),
        (2 * widths.heads * widths.key, widths.heads, widths.value, False),
    ):
        grid = (batch * -(-time // TOKENS), heads)
        sizes = (time, channels, first, batch, widths.heads, widths.eps, width, kernel, TOKENS, tile(width), address)
        launches.append((grid, sizes))
    return launches

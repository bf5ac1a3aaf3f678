"""M, S and the anchor from segment to segment, a program for each row, head and block of values.

    E = (K A^T - V) r,      M <- w_m M + w_s S + (E o w)^T K,      S <- u_s S + (E o u)^T K

with A the anchor, r what divides each gradient, and w, u the last rows of the coordinates W and U (`coordinates`); at
the start of a segment rows that begin a document restart and rows in phase re-anchor (`segments.enter`). Rows of M are
independent, so values are cut into blocks and what is summed over values is summed over them at the end. The reference
is the loop of `linear.run_linear`. Only this is sequential; the backward pass is the same scan in reverse, from what
each segment entered with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.coordinates import Mixing
from atlas_ref.memory.kernels.held import Borders, Entered, Held
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, dense, loaded, precision, stored, tile

TILE_OF_M = 4096
"""Numbers of M that a program holds: what stays in registers."""


def chunk_scan(
    borders: Borders,
    keys: Float[Tensor, "segments batch heads slots features"],
    values: Float[Tensor, "segments batch heads slots values"],
    shares: Float[Tensor, "segments batch heads slots"],
    mix: Mixing,
    initial: Float[Tensor, "heads values features"],
    held: Held,
) -> tuple[Entered, Held]:
    """Return what every segment enters with and what the last one leaves (derived); `shares` is r."""
    apply: Callable[..., tuple[Tensor, ...]] = _ChunkScan.apply
    found = apply(borders, keys, values, shares, *mix[3:], initial, *held)
    entered = Entered(found[0], found[1], None if borders.always else found[2])
    return entered, Held(*found[-3:])


@compiled
def _forward(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    w: tl.tensor,
    w_s: tl.tensor,
    w_m: tl.tensor,
    u: tl.tensor,
    u_s: tl.tensor,
    initial: tl.tensor,
    m_before: tl.tensor,
    s_before: tl.tensor,
    a_before: tl.tensor,
    resets: tl.tensor,
    opens: tl.tensor,
    m_entered: tl.tensor,
    s_entered: tl.tensor,
    a_entered: tl.tensor,
    m_after: tl.tensor,
    s_after: tl.tensor,
    a_after: tl.tensor,
    SEGMENTS: tl.tensor,
    ROWS: tl.tensor,
    HEADS: tl.tensor,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    ALWAYS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    i, d, v = tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    v += tl.program_id(1) * VALUE_TILE
    there, of_d, of_v = i < SLOTS, (d < FEATURES)[None, :], v < VALUES
    matrix = v[:, None] * FEATURES + d[None, :]
    of_m = of_v[:, None] & of_d
    size = VALUES * FEATURES
    first = tl.load(initial + (row % HEADS) * size + matrix, mask=of_m, other=0.0)
    m = tl.load(m_before + row * size + matrix, mask=of_m, other=0.0)
    s = tl.load(s_before + row * size + matrix, mask=of_m, other=0.0)
    a = tl.load(a_before + row * size + matrix, mask=of_m, other=0.0)
    for n in range(SEGMENTS):
        at = n * ROWS + row
        mark = at // HEADS
        restarts = tl.load(resets + mark) != 0
        m = tl.where(restarts, first, m)
        s = tl.where(restarts, 0.0, s)
        a = tl.where(tl.load(opens + mark) != 0, m, a)
        tl.store(m_entered + at * size + matrix, m, mask=of_m)
        tl.store(s_entered + at * size + matrix, s, mask=of_m)
        if not ALWAYS:
            tl.store(a_entered + at * size + matrix, a, mask=of_m)
        place = at * SLOTS + i
        k = loaded(keys, place, d, there, FEATURES)
        x = loaded(values, place, v, there, VALUES)
        share = tl.load(shares + place, mask=there, other=0.0)
        error = (tl.dot(k, tl.trans(a), input_precision=PRECISION) - x) * share[:, None]
        into_m = error * tl.load(w + place, mask=there, other=0.0)[:, None]
        into_s = error * tl.load(u + place, mask=there, other=0.0)[:, None]
        m = tl.load(w_m + at) * m + tl.load(w_s + at) * s + tl.dot(tl.trans(into_m), k, input_precision=PRECISION)
        s = tl.load(u_s + at) * s + tl.dot(tl.trans(into_s), k, input_precision=PRECISION)
    tl.store(m_after + row * size + matrix, m, mask=of_m)
    tl.store(s_after + row * size + matrix, s, mask=of_m)
    tl.store(a_after + row * size + matrix, a, mask=of_m)


@compiled
def _backward(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    w: tl.tensor,
    w_s: tl.tensor,
    w_m: tl.tensor,
    u: tl.tensor,
    u_s: tl.tensor,
    resets: tl.tensor,
    opens: tl.tensor,
    m_entered: tl.tensor,
    s_entered: tl.tensor,
    a_entered: tl.tensor,
    d_m_entered: tl.tensor,
    d_s_entered: tl.tensor,
    d_a_entered: tl.tensor,
    d_m_after: tl.tensor,
    d_s_after: tl.tensor,
    d_a_after: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    d_shares: tl.tensor,
    d_w: tl.tensor,
    d_w_s: tl.tensor,
    d_w_m: tl.tensor,
    d_u: tl.tensor,
    d_u_s: tl.tensor,
    d_initial: tl.tensor,
    d_m_before: tl.tensor,
    d_s_before: tl.tensor,
    d_a_before: tl.tensor,
    SEGMENTS: tl.tensor,
    ROWS: tl.tensor,
    HEADS: tl.tensor,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    ALWAYS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1).to(tl.int64) * SEGMENTS * ROWS
    i, d, v = tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    v += tl.program_id(1) * VALUE_TILE
    there, of_d, of_v = i < SLOTS, (d < FEATURES)[None, :], v < VALUES
    matrix = v[:, None] * FEATURES + d[None, :]
    of_m = of_v[:, None] & of_d
    size = VALUES * FEATURES
    d_first = tl.zeros([VALUE_TILE, FEATURE_TILE], tl.float32)
    d_m = tl.load(d_m_after + row * size + matrix, mask=of_m, other=0.0)
    d_s = tl.load(d_s_after + row * size + matrix, mask=of_m, other=0.0)
    d_a = tl.load(d_a_after + row * size + matrix, mask=of_m, other=0.0)
    for back in range(SEGMENTS):
        at = (SEGMENTS - 1 - back) * ROWS + row
        mark = at // HEADS
        m = tl.load(m_entered + at * size + matrix, mask=of_m, other=0.0)
        s = tl.load(s_entered + at * size + matrix, mask=of_m, other=0.0)
        a = m
        if not ALWAYS:
            a = tl.load(a_entered + at * size + matrix, mask=of_m, other=0.0)
        place = at * SLOTS + i
        k, x = loaded(keys, place, d, there, FEATURES), loaded(values, place, v, there, VALUES)
        share = tl.load(shares + place, mask=there, other=0.0)
        row_w, row_u = tl.load(w + place, mask=there, other=0.0), tl.load(u + place, mask=there, other=0.0)
        raw = tl.dot(k, tl.trans(a), input_precision=PRECISION) - x
        error = raw * share[:, None]
        via_m = tl.dot(k, tl.trans(d_m), input_precision=PRECISION)
        via_s = tl.dot(k, tl.trans(d_s), input_precision=PRECISION)
        d_error = row_w[:, None] * via_m + row_u[:, None] * via_s
        d_raw = d_error * share[:, None]
        d_k = tl.dot(error * row_w[:, None], d_m, input_precision=PRECISION)
        d_k += tl.dot(error * row_u[:, None], d_s, input_precision=PRECISION)
        d_k += tl.dot(d_raw, a, input_precision=PRECISION)
        mine = part * SLOTS + place
        stored(d_keys, mine, d, there, d_k, FEATURES)
        stored(d_values, place, v, there, -d_raw, VALUES)
        tl.store(d_shares + mine, tl.sum(d_error * raw, 1), mask=there)
        tl.store(d_w + mine, tl.sum(error * via_m, 1), mask=there)
        tl.store(d_u + mine, tl.sum(error * via_s, 1), mask=there)
        tl.store(d_w_m + part + at, tl.sum(m * d_m))
        tl.store(d_w_s + part + at, tl.sum(s * d_m))
        tl.store(d_u_s + part + at, tl.sum(s * d_s))
        d_a += tl.dot(tl.trans(d_raw), k, input_precision=PRECISION)
        if not ALWAYS:
            d_a += tl.load(d_a_entered + at * size + matrix, mask=of_m, other=0.0)
        d_s = tl.load(w_s + at) * d_m + tl.load(u_s + at) * d_s
        d_s += tl.load(d_s_entered + at * size + matrix, mask=of_m, other=0.0)
        d_m = tl.load(w_m + at) * d_m
        d_m += tl.load(d_m_entered + at * size + matrix, mask=of_m, other=0.0)
        opened = tl.load(opens + mark) != 0
        d_m = tl.where(opened, d_m + d_a, d_m)
        d_a = tl.where(opened, 0.0, d_a)
        restarts = tl.load(resets + mark) != 0
        d_first = tl.where(restarts, d_first + d_m, d_first)
        d_m = tl.where(restarts, 0.0, d_m)
        d_s = tl.where(restarts, 0.0, d_s)
    tl.store(d_initial + row * size + matrix, d_first, mask=of_m)
    tl.store(d_m_before + row * size + matrix, d_m, mask=of_m)
    tl.store(d_s_before + row * size + matrix, d_s, mask=of_m)
    tl.store(d_a_before + row * size + matrix, d_a, mask=of_m)


class _Shape(NamedTuple):
    """The sizes of a call, as both kernels take them."""

    segments: int
    rows: int
    heads: int
    slots: int
    features: int
    values: int

    @property
    def blocks(self) -> int:
        """How many blocks the values are cut into."""
        return -(-self.values // self.value_tile)

    @property
    def value_tile(self) -> int:
        """Values of one block."""
        return min(tile(self.values), 32, max(16, TILE_OF_M // tile(self.features)))

    def arguments(self, always: bool) -> tuple[int | bool | str, ...]:
        """Return the sizes, tiles and switches of a kernel, in their order."""
        return (*self, tile(self.slots), tile(self.features), self.value_tile, always, precision())


class _ChunkScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, borders: Borders, *given: Tensor) -> tuple[Tensor, ...]:
        given = dense(*given)
        keys, values, before = given[0], given[1], given[-3:]
        segments, batch, heads, slots, features = keys.shape
        shape = _Shape(segments, batch * heads, heads, slots, features, values.shape[-1])
        entered = [keys.new_empty(segments, *before[0].shape) for _ in range(2 if borders.always else 3)]
        after = [torch.empty_like(x) for x in before]
        marks = (borders.resets, borders.opens)
        _forward[(shape.rows, shape.blocks)](
            *given, *marks, *entered, *entered[: 3 - len(entered)], *after, *shape.arguments(borders.always), **LAUNCH
        )
        ctx.save_for_backward(*given[:8], *marks, *entered)
        ctx.shape, ctx.always = shape, borders.always
        return (*entered, *after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        shape, always = ctx.shape, ctx.always
        given, marks, entered = ctx.saved_tensors[:8], ctx.saved_tensors[8:10], ctx.saved_tensors[10:]
        grads = dense(*grads)
        spare = entered[: 3 - len(entered)]
        # What is summed over values: a part of each block.
        parts = [x.new_empty(shape.blocks, *x.shape) for x in given]
        d_values = torch.empty_like(given[1])
        parts[1] = d_values
        before = [torch.empty_like(grads[-1]) for _ in range(4)]
        _backward[(shape.rows, shape.blocks)](
            *given,
            *marks,
            *entered,
            *spare,
            *grads[: len(entered)],
            *spare,
            *grads[-3:],
            *parts,
            *before,
            *shape.arguments(always),
            **LAUNCH,
        )
        summed = [x if x is d_values else x.squeeze(0) if shape.blocks == 1 else x.sum(0) for x in parts]
        return (None, *summed, before[0].sum(0), *before[1:])

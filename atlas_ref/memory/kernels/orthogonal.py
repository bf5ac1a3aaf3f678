"""One segment under Newton-Schulz: a program for each token that writes, then one for each head and block of values.

    E = (K A^T - V) r,      S_i = (E o U_i)^T K + U[i, S] S,      O_i = NS(S_i)          (`_write`)
    M <- sum_i w_i O_i + w_M M,      y_t = sum_i W[t, i] O_i q_t + W[t, M] M q_t          (`_mix`)

with U the coordinates of the momentum of the tokens that write and W those of the memory in their O_i. A matrix stays
on the chip for all steps of its iteration. The reference is `orthogonalised._segment`; the backward pass forms
everything again from what the segment entered with.
"""

from typing import Any, NamedTuple

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.kernels.launching import LAUNCH, compiled, dense, precision, tile

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
    reads, weights, momentum = _Segment.apply(iteration, *entering)
    return reads, weights, momentum


@compiled
def _step(x: tl.tensor, a: tl.tensor, b: tl.tensor, c: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return a X + (b A + c A^2) X with A = X X^T."""
    gram = tl.dot(x, tl.trans(x), input_precision=PRECISION)
    polynomial = b * gram + c * tl.dot(gram, gram, input_precision=PRECISION)
    return a * x + tl.dot(polynomial, x, input_precision=PRECISION)


@compiled
def _step_adjoint(
    x: tl.tensor, d_next: tl.tensor, a: tl.tensor, b: tl.tensor, c: tl.tensor, PRECISION: tl.constexpr
) -> tl.tensor:
    """Return the cotangent of X from that of the next one; A and its polynomial are symmetric."""
    gram = tl.dot(x, tl.trans(x), input_precision=PRECISION)
    polynomial = b * gram + c * tl.dot(gram, gram, input_precision=PRECISION)
    d_polynomial = tl.dot(d_next, tl.trans(x), input_precision=PRECISION)
    d_square = tl.dot(d_polynomial, gram, input_precision=PRECISION) + tl.dot(
        gram, d_polynomial, input_precision=PRECISION
    )
    d_gram = b * d_polynomial + c * d_square
    return (
        a * d_next
        + tl.dot(polynomial, d_next, input_precision=PRECISION)
        + tl.dot(d_gram + tl.trans(d_gram), x, input_precision=PRECISION)
    )


@compiled
def _error(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    anchor: tl.tensor,
    row: tl.tensor,
    i: tl.tensor,
    d: tl.tensor,
    v: tl.tensor,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return the keys of a segment, K A^T - V, and what divides it, of the values `v`."""
    slots, of_d, of_v = i < SLOTS, (d < FEATURES)[None, :], v < VALUES
    place = row * SLOTS + i
    k = tl.load(keys + place[:, None] * FEATURES + d[None, :], mask=slots[:, None] & of_d, other=0.0)
    x = tl.load(values + place[:, None] * VALUES + v[None, :], mask=slots[:, None] & of_v[None, :], other=0.0)
    matrix = (row * VALUES + v)[:, None] * FEATURES + d[None, :]
    a = tl.load(anchor + matrix, mask=of_v[:, None] & of_d, other=0.0)
    raw = tl.dot(k, tl.trans(a), input_precision=PRECISION) - x
    return k, raw, tl.load(shares + place, mask=slots, other=0.0)


@compiled
def _write(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    coefficients: tl.tensor,
    updates: tl.tensor,
    OFFSET: tl.tensor,
    STEPS: tl.constexpr,
    WRITERS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64)
    row = at // WRITERS
    i, d, v = tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    of_m = (v < VALUES)[:, None] & (d < FEATURES)[None, :]
    matrix = v[:, None] * FEATURES + d[None, :]
    k, raw, share = _error(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    u = tl.load(writing + at * SLOTS + i, mask=i < SLOTS, other=0.0)
    before = tl.load(momentum + row * VALUES * FEATURES + matrix, mask=of_m, other=0.0)
    s = tl.load(writing_s + at) * before
    s += tl.dot(tl.trans(raw * (share * u)[:, None]), k, input_precision=PRECISION)
    # Entries above one are not squared: 1e20 is a valid float32, and its square is not.
    scale = tl.maximum(tl.max(tl.abs(s)), 1.0)
    s = s / scale
    x = s / (tl.sqrt(tl.sum(s * s)) + OFFSET / scale)
    for step in range(STEPS):
        a, b, c = (
            tl.load(coefficients + 3 * step),
            tl.load(coefficients + 3 * step + 1),
            tl.load(coefficients + 3 * step + 2),
        )
        x = _step(x, a, b, c, PRECISION)
    tl.store(updates + at * VALUES * FEATURES + matrix, x, mask=of_m)


@compiled
def _mix(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    u: tl.tensor,
    u_s: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    updates: tl.tensor,
    reads: tl.tensor,
    m_after: tl.tensor,
    s_after: tl.tensor,
    WRITERS: tl.constexpr,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    t, i, d = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    tokens, of_v, of_d = t < TOKENS, v < VALUES, (d < FEATURES)[None, :]
    of_m = of_v[:, None] & of_d
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    q = tl.load(queries + (row * TOKENS + t)[:, None] * FEATURES + d[None, :], mask=tokens[:, None] & of_d, other=0.0)
    share = mix + (row * TOKENS + t) * (WRITERS + 1)
    m = tl.load(weights + row * size + matrix, mask=of_m, other=0.0)
    y = tl.load(share + WRITERS, mask=tokens, other=0.0)[:, None] * tl.dot(q, tl.trans(m), input_precision=PRECISION)
    m = tl.load(w + row * (WRITERS + 1) + WRITERS) * m
    for n in range(WRITERS):
        update = tl.load(updates + (row * WRITERS + n) * size + matrix, mask=of_m, other=0.0)
        m += tl.load(w + row * (WRITERS + 1) + n) * update
        seen = tl.dot(q, tl.trans(update), input_precision=PRECISION)
        y += tl.load(share + n, mask=tokens, other=0.0)[:, None] * seen
    tl.store(m_after + row * size + matrix, m, mask=of_m)
    tl.store(reads + (row * TOKENS + t)[:, None] * VALUES + v[None, :], y, mask=tokens[:, None] & of_v[None, :])
    k, raw, part = _error(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    part = part * tl.load(u + row * SLOTS + i, mask=i < SLOTS, other=0.0)
    s = tl.load(u_s + row) * tl.load(momentum + row * size + matrix, mask=of_m, other=0.0)
    s += tl.dot(tl.trans(raw * part[:, None]), k, input_precision=PRECISION)
    tl.store(s_after + row * size + matrix, s, mask=of_m)


@compiled
def _write_adjoint(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    coefficients: tl.tensor,
    d_reads: tl.tensor,
    d_m_after: tl.tensor,
    scratch: tl.tensor,
    updates: tl.tensor,
    d_each: tl.tensor,
    d_writing: tl.tensor,
    d_writing_s: tl.tensor,
    d_w: tl.tensor,
    d_mix: tl.tensor,
    OFFSET: tl.tensor,
    STEPS: tl.constexpr,
    WRITERS: tl.constexpr,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64)
    row, writer = at // WRITERS, at % WRITERS
    t, i = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    tokens, of_v, of_d = t < TOKENS, v < VALUES, (d < FEATURES)[None, :]
    of_m = of_v[:, None] & of_d
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    k, raw, share = _error(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    u = tl.load(writing + at * SLOTS + i, mask=i < SLOTS, other=0.0)
    before = tl.load(momentum + row * size + matrix, mask=of_m, other=0.0)
    s = tl.load(writing_s + at) * before
    s += tl.dot(tl.trans(raw * (share * u)[:, None]), k, input_precision=PRECISION)
    scale = tl.maximum(tl.max(tl.abs(s)), 1.0)
    s = s / scale
    norm = tl.sqrt(tl.sum(s * s))
    x = s / (norm + OFFSET / scale)
    for step in range(STEPS):
        tl.store(scratch + (at * STEPS + step) * size + matrix, x, mask=of_m)
        a, b, c = (
            tl.load(coefficients + 3 * step),
            tl.load(coefficients + 3 * step + 1),
            tl.load(coefficients + 3 * step + 2),
        )
        x = _step(x, a, b, c, PRECISION)
    tl.store(updates + at * size + matrix, x, mask=of_m)
    q = tl.load(queries + (row * TOKENS + t)[:, None] * FEATURES + d[None, :], mask=tokens[:, None] & of_d, other=0.0)
    d_y = tl.load(
        d_reads + (row * TOKENS + t)[:, None] * VALUES + v[None, :], mask=tokens[:, None] & of_v[None, :], other=0.0
    )
    d_m = tl.load(d_m_after + row * size + matrix, mask=of_m, other=0.0)
    place = (row * TOKENS + t) * (WRITERS + 1) + writer
    seen = tl.dot(q, tl.trans(x), input_precision=PRECISION)
    tl.store(d_mix + place, tl.sum(d_y * seen, 1), mask=tokens)
    tl.store(d_w + row * (WRITERS + 1) + writer, tl.sum(x * d_m))
    shown = d_y * tl.load(mix + place, mask=tokens, other=0.0)[:, None]
    d_x = tl.dot(tl.trans(shown), q, input_precision=PRECISION)
    d_x += tl.load(w + row * (WRITERS + 1) + writer) * d_m
    tl.debug_barrier()
    for back in range(STEPS):
        step = STEPS - 1 - back
        x = tl.load(scratch + (at * STEPS + step) * size + matrix, mask=of_m, other=0.0)
        a, b, c = (
            tl.load(coefficients + 3 * step),
            tl.load(coefficients + 3 * step + 1),
            tl.load(coefficients + 3 * step + 2),
        )
        d_x = _step_adjoint(x, d_x, a, b, c, PRECISION)
    # The start; a norm of zero has a gradient of zero.
    whole = norm + OFFSET / scale
    along = tl.where(norm > 0.0, tl.sum(d_x * s) / (tl.where(norm > 0.0, norm, 1.0) * whole * whole), 0.0)
    d_s = (d_x / whole - s * along) / scale
    tl.store(d_each + at * size + matrix, d_s, mask=of_m)
    via = tl.dot(k, tl.trans(d_s), input_precision=PRECISION)
    tl.store(d_writing + at * SLOTS + i, tl.sum(raw * via, 1) * share, mask=i < SLOTS)
    tl.store(d_writing_s + at, tl.sum(d_s * before))


@compiled
def _mix_adjoint(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    u: tl.tensor,
    u_s: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    updates: tl.tensor,
    d_each: tl.tensor,
    d_reads: tl.tensor,
    d_m_after: tl.tensor,
    d_s_after: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    d_shares: tl.tensor,
    d_queries: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    d_anchor: tl.tensor,
    d_u: tl.tensor,
    d_u_s: tl.tensor,
    d_w_m: tl.tensor,
    d_mix_m: tl.tensor,
    ROWS: tl.tensor,
    WRITERS: tl.constexpr,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    mine = tl.program_id(1) * ROWS + row
    t, i, d = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    tokens, slots, of_v, of_d = t < TOKENS, i < SLOTS, v < VALUES, (d < FEATURES)[None, :]
    of_m, of_q, of_k = of_v[:, None] & of_d, tokens[:, None] & of_d, slots[:, None] & of_d
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    k, raw, share = _error(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    error = raw * share[:, None]
    q = tl.load(queries + (row * TOKENS + t)[:, None] * FEATURES + d[None, :], mask=of_q, other=0.0)
    d_y = tl.load(
        d_reads + (row * TOKENS + t)[:, None] * VALUES + v[None, :], mask=tokens[:, None] & of_v[None, :], other=0.0
    )
    # What S leaves: one more momentum, with the coordinates of the last token.
    last = tl.load(u + row * SLOTS + i, mask=slots, other=0.0)
    d_s_next = tl.load(d_s_after + row * size + matrix, mask=of_m, other=0.0)
    s = tl.load(momentum + row * size + matrix, mask=of_m, other=0.0)
    via = tl.dot(k, tl.trans(d_s_next), input_precision=PRECISION)
    tl.store(d_u + mine * SLOTS + i, tl.sum(error * via, 1), mask=slots)
    tl.store(d_u_s + mine, tl.sum(d_s_next * s))
    d_error = last[:, None] * via
    d_k = tl.dot(error * last[:, None], d_s_next, input_precision=PRECISION)
    d_s = tl.load(u_s + row) * d_s_next
    # M itself, in the reads and in what it leaves.
    m = tl.load(weights + row * size + matrix, mask=of_m, other=0.0)
    d_m_next = tl.load(d_m_after + row * size + matrix, mask=of_m, other=0.0)
    shown = d_y * tl.load(mix + (row * TOKENS + t) * (WRITERS + 1) + WRITERS, mask=tokens, other=0.0)[:, None]
    d_m = tl.load(w + row * (WRITERS + 1) + WRITERS) * d_m_next
    d_m += tl.dot(tl.trans(shown), q, input_precision=PRECISION)
    tl.store(d_weights + row * size + matrix, d_m, mask=of_m)
    tl.store(d_w_m + mine, tl.sum(m * d_m_next))
    tl.store(
        d_mix_m + mine * TOKENS + t, tl.sum(d_y * tl.dot(q, tl.trans(m), input_precision=PRECISION), 1), mask=tokens
    )
    d_q = tl.dot(shown, m, input_precision=PRECISION)
    for n in range(WRITERS):
        at = row * WRITERS + n
        update = tl.load(updates + at * size + matrix, mask=of_m, other=0.0)
        d_one = tl.load(d_each + at * size + matrix, mask=of_m, other=0.0)
        own = tl.load(writing + at * SLOTS + i, mask=slots, other=0.0)
        shown = d_y * tl.load(mix + (row * TOKENS + t) * (WRITERS + 1) + n, mask=tokens, other=0.0)[:, None]
        d_q += tl.dot(shown, update, input_precision=PRECISION)
        d_error += own[:, None] * tl.dot(k, tl.trans(d_one), input_precision=PRECISION)
        d_k += tl.dot(error * own[:, None], d_one, input_precision=PRECISION)
        d_s += tl.load(writing_s + at) * d_one
    tl.store(d_momentum + row * size + matrix, d_s, mask=of_m)
    tl.store(d_queries + (mine * TOKENS + t)[:, None] * FEATURES + d[None, :], d_q, mask=of_q)
    d_raw = d_error * share[:, None]
    a = tl.load(anchor + row * size + matrix, mask=of_m, other=0.0)
    d_k += tl.dot(d_raw, a, input_precision=PRECISION)
    tl.store(d_keys + (mine * SLOTS + i)[:, None] * FEATURES + d[None, :], d_k, mask=of_k)
    tl.store(d_values + (row * SLOTS + i)[:, None] * VALUES + v[None, :], -d_raw, mask=slots[:, None] & of_v[None, :])
    tl.store(d_shares + mine * SLOTS + i, tl.sum(d_error * raw, 1), mask=slots)
    tl.store(d_anchor + row * size + matrix, tl.dot(tl.trans(d_raw), k, input_precision=PRECISION), mask=of_m)


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
        _write[(sizes.rows * sizes.writers,)](
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
        found = (torch.empty_like(given.queries[..., :1]).expand(*given.queries.shape[:-1], sizes.values).contiguous(),)
        found += (torch.empty_like(given.weights), torch.empty_like(given.momentum))
        _mix[(sizes.rows, sizes.blocks)](
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
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, sizes, iteration = Entering._make(ctx.saved_tensors), ctx.sizes, ctx.iteration
        d_reads, d_m, d_s = dense(*grads)
        steps, blocks = len(iteration.coefficients), sizes.blocks
        wide = (tile(sizes.tokens), tile(sizes.slots), tile(sizes.features))
        scratch = d_m.new_empty(steps, sizes.rows * sizes.writers, sizes.values, sizes.features)
        updates, d_each = torch.empty_like(scratch[0]), torch.empty_like(scratch[0])
        d_writing, d_writing_s, d_w, d_mix = (torch.empty_like(x) for x in (*given[7:9], *given[11:]))
        _write_adjoint[(sizes.rows * sizes.writers,)](
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
        _mix_adjoint[(sizes.rows, blocks)](
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
        summed = Entering(
            d_keys.sum(0),
            d_values,
            d_shares.sum(0),
            d_queries.sum(0),
            *whole,
            d_writing,
            d_writing_s,
            d_u.sum(0),
            d_u_s.sum(0),
            d_w,
            d_mix,
        )
        return (None, *summed)

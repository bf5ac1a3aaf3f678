"""What a segment reads and leaves, and what its cotangents leave for the one before (`orthogonal`).

M <- sum_i w_i O_i + w_M M,      y_t = sum_i W[t, i] O_i q_t + W[t, M] M q_t,      S <- (E o u) K + u_s S

A program for each head and block of values. At the border behind a segment rows restart and take their anchor, as
`segments.enter` has it: both kernels do it where they store.
"""

import triton.language as tl

from atlas_ref.memory.kernels.iteration import by_rows, narrow, product, times
from atlas_ref.memory.kernels.launching import compiled, loaded, stored
from atlas_ref.memory.kernels.orthogonal_write import errors


@compiled
def read(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    u: tl.tensor,
    u_s: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    initial: tl.tensor,
    resets: tl.tensor,
    opens: tl.tensor,
    updates: tl.tensor,
    scales: tl.tensor,
    reads: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    FIRST: tl.tensor,
    ROWS: tl.tensor,
    HEADS: tl.tensor,
    WRITERS: tl.constexpr,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    HALF: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store the reads of a segment, and M, S and the anchor that enter the next, going over the tokens that write."""
    own = tl.program_id(0).to(tl.int64)
    row = own + FIRST
    t, i, d = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    tokens, slots = t < TOKENS, i < SLOTS
    of_m = (v < VALUES)[:, None] & (d < FEATURES)[None, :]
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    share, part = mix + row * (WRITERS + 1) * TOKENS + t, w + row * (WRITERS + 1)
    q, of_q = by_rows(loaded(queries + row * TOKENS * FEATURES, t, d, tokens, FEATURES), HALF)
    m = tl.load(weights + row * size + matrix, mask=of_m, other=0.0)
    rows, of_rows = by_rows(m, HALF)
    known = tl.load(share + WRITERS * TOKENS, mask=tokens, other=0.0) * of_q
    y = known[:, None] * of_rows[None, :] * times(q, tl.trans(rows), PRECISION)
    m = tl.load(part + WRITERS) * m
    for n in range(WRITERS):
        place = own * WRITERS + n
        update, scale = tl.load(updates + place * size + matrix, mask=of_m, other=0.0), tl.load(scales + place)
        m += (tl.load(part + n) * scale) * update.to(tl.float32)
        seen = (tl.load(share + n * TOKENS, mask=tokens, other=0.0) * of_q * scale)[:, None]
        y += seen * times(q, tl.trans(update), PRECISION)
    stored(reads + row * TOKENS * VALUES, t, v, tokens, y, VALUES)
    k, _, of_k, error = errors(
        keys, values, shares, anchor, row, i, d, d, v, SLOTS, FEATURES, VALUES, 0, HALF, PRECISION
    )
    last = of_k * tl.load(u + row * SLOTS + i, mask=slots, other=0.0)
    s = tl.load(u_s + row) * tl.load(momentum + row * size + matrix, mask=of_m, other=0.0)
    s += product(error * last[None, :], k, HALF, PRECISION)
    # The border behind the segment.
    after = row + ROWS
    restarts, moves = tl.load(resets + after // HEADS) != 0, tl.load(opens + after // HEADS) != 0
    fresh = tl.load(initial + (row % HEADS) * size + matrix, mask=of_m, other=0.0)
    m = tl.where(restarts, fresh, m)
    xi = tl.load(anchor + row * size + matrix, mask=of_m, other=0.0)
    tl.store(weights + after * size + matrix, m, mask=of_m)
    tl.store(momentum + after * size + matrix, tl.where(restarts, 0.0, s), mask=of_m)
    tl.store(anchor + after * size + matrix, tl.where(moves, m, xi), mask=of_m)


@compiled
def carry_adjoint(
    keys: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    u: tl.tensor,
    u_s: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    resets: tl.tensor,
    opens: tl.tensor,
    d_each: tl.tensor,
    factors: tl.tensor,
    d_reads: tl.tensor,
    d_anchors: tl.tensor,
    d_values: tl.tensor,
    d_initial: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    d_anchor: tl.tensor,
    FIRST: tl.tensor,
    SHIFT: tl.tensor,
    ROWS: tl.tensor,
    HEADS: tl.tensor,
    WRITERS: tl.constexpr,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    HALF: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store the cotangents of the values, and of M, S and the anchor before the border in front of the segment."""
    own = tl.program_id(0).to(tl.int64)
    row, after = own + FIRST, own + FIRST + ROWS
    t, i, d = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    tokens, slots, of_v = t < TOKENS, i < SLOTS, v < VALUES
    of_m = of_v[:, None] & (d < FEATURES)[None, :]
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    k, of_k = by_rows(loaded(keys + row * SLOTS * FEATURES, i, d, slots, FEATURES), HALF)
    d_s = tl.load(d_momentum + after * size + matrix, mask=of_m, other=0.0)
    rows, of_rows = by_rows(d_s, HALF)
    last = of_k * tl.load(u + row * SLOTS + i, mask=slots, other=0.0)
    d_error = last[:, None] * of_rows[None, :] * times(k, tl.trans(rows), PRECISION)
    d_s = tl.load(u_s + row) * d_s
    for n in range(WRITERS):
        place, at = (own + SHIFT) * WRITERS + n, row * WRITERS + n
        d_one, factor = tl.load(d_each + place * size + matrix, mask=of_m, other=0.0), tl.load(factors + place)
        seen = (tl.load(writing + at * SLOTS + i, mask=slots, other=0.0) * of_k * factor)[:, None]
        d_error += seen * times(k, tl.trans(narrow(d_one, HALF)), PRECISION)
        d_s += (tl.load(writing_s + at) * factor) * d_one
    d_raw = d_error * tl.load(shares + row * SLOTS + i, mask=slots, other=0.0)[:, None]
    stored(d_values + row * SLOTS * VALUES, i, v, slots, -d_raw, VALUES)
    d_xi = product(tl.trans(d_raw * of_k[:, None]), k, HALF, PRECISION)
    d_xi += tl.load(d_anchor + after * size + matrix, mask=of_m, other=0.0)
    d_xi += tl.load(d_anchors + row * size + matrix, mask=of_m, other=0.0)
    q, of_q = by_rows(loaded(queries + row * TOKENS * FEATURES, t, d, tokens, FEATURES), HALF)
    number = row * (WRITERS + 1) + WRITERS
    shown = of_q * tl.load(mix + number * TOKENS + t, mask=tokens, other=0.0)
    d_y = shown[:, None] * loaded(d_reads + row * TOKENS * VALUES, t, v, tokens, VALUES)
    d_m = tl.load(w + number) * tl.load(d_weights + after * size + matrix, mask=of_m, other=0.0)
    d_m += product(tl.trans(d_y), q, HALF, PRECISION)
    # The border in front of the segment.
    restarts, moved = tl.load(resets + row // HEADS) != 0, tl.load(opens + row // HEADS) != 0
    d_m += tl.where(moved, d_xi, 0.0)
    begun = tl.load(d_initial + own * size + matrix, mask=of_m, other=0.0)
    tl.store(d_initial + own * size + matrix, begun + tl.where(restarts, d_m, 0.0), mask=of_m)
    tl.store(d_weights + row * size + matrix, tl.where(restarts, 0.0, d_m), mask=of_m)
    tl.store(d_momentum + row * size + matrix, tl.where(restarts, 0.0, d_s), mask=of_m)
    tl.store(d_anchor + row * size + matrix, tl.where(moved, 0.0, d_xi), mask=of_m)

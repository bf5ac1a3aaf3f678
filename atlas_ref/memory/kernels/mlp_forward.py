"""The MLP memory P(x) = I x + W1 gelu(W2 x) from segment to segment: what is known at the anchor, and the write.

Both matrices are written by the coordinates U and W of a matrix (`coordinates`; w, u are their last rows), with the
factors of `mlp_parts`:

    M1 <- w_m M1 + w_s S1 + (x o w)^T h,      M2 <- w_m M2 + w_s S2 + (l o w)^T k,      S alike with u

One segment follows another in `known_at_anchor`, a program for each memory, and in `written`, one for each block of
hidden units too. The reference is `linear.run_linear`.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied, stored
from atlas_ref.memory.kernels.mlp_parts import (
    SLOPE,
    at_anchor,
    gelu,
    last_rows,
    last_shares,
    numbers,
    seen_slots,
    shares,
)
from atlas_ref.memory.kernels.parts import located, near


@compiled
def known_at_anchor(
    keys: tl.tensor,
    values: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    borders: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    bounds: tl.tensor,
    FIRST: tl.tensor,
    SHIFT: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    HIDDEN: tl.constexpr,
    CHUNK: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    BEFORE: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store e, and where the rule divides kappa and b, of every slot of a segment."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, _ = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    past: tl.constexpr = 1 if PAST > 0 else 0
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    e = near(keys, old_keys, row, head, start, i, sight, v, TIME, HEADS, PAST, FEATURES, past)
    e = tl.where((v < VALUES)[None, :], e, 0.0)
    e -= near(values, old_values, row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES, past)
    squares, slopes = tl.zeros([SLOT_TILE], tl.float32), tl.zeros([SLOT_TILE], tl.float32)
    for first in range(0, HIDDEN, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        w1 = loaded(outer + own * VALUES * HIDDEN, v, unit, v < VALUES, HIDDEN)
        w2 = loaded(inner + own * HIDDEN * FEATURES, unit, d, unit < HIDDEN, FEATURES)
        h, slope = gelu(multiplied(k, tl.trans(w2), PRECISION))
        e += multiplied(h, tl.trans(w1), PRECISION)
        if NORMALISED:
            squares += tl.sum(h * h, 1)
            slopes += tl.sum(slope * slope * tl.sum(w1 * w1, 0)[None, :], 1)
    stored(errors + at * (PAST + TOKENS) * VALUES, i, v, slots, e, VALUES)
    if NORMALISED:
        square = tl.sum(k * k, 1)
        kappa = squares + square * slopes + SLOPE * tl.sqrt(square) * tl.sqrt(tl.sum(e * e, 1))
        tl.store(curvature + at * (PAST + TOKENS) + i, kappa, mask=slots)
        tl.store(bounds + at * (PAST + TOKENS) + i, slopes, mask=slots)


@compiled
def _grown(
    m_at: tl.tensor,
    s_at: tl.tensor,
    a_at: tl.tensor,
    initial: tl.tensor,
    to_next: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    there: tl.tensor,
    by_m: tl.tensor,
    by_s: tl.tensor,
    w_m: tl.tensor,
    w_s: tl.tensor,
    u_s: tl.tensor,
    restarts: tl.tensor,
    opens: tl.tensor,
    WIDTH: tl.constexpr,
    ALWAYS: tl.constexpr,
) -> None:
    """Add to a tile of M and S what is written, and store it as the next segment enters with it."""
    m, s = loaded(m_at, row, column, there, WIDTH), loaded(s_at, row, column, there, WIDTH)
    m = w_m * m + w_s * s + by_m
    s = u_s * s + by_s
    m = tl.where(restarts, loaded(initial, row, column, there, WIDTH), m)
    stored(m_at + to_next, row, column, there, m, WIDTH)
    stored(s_at + to_next, row, column, there, tl.where(restarts, 0.0, s), WIDTH)
    if not ALWAYS:
        a = tl.where(opens, m, loaded(a_at, row, column, there, WIDTH))
        stored(a_at + to_next, row, column, there, a, WIDTH)


@compiled
def written(
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    borders: tl.tensor,
    initial_outer: tl.tensor,
    initial_inner: tl.tensor,
    m_outer: tl.tensor,
    m_inner: tl.tensor,
    s_outer: tl.tensor,
    s_inner: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    ALWAYS: tl.constexpr,
    FIRST: tl.tensor,
    SHIFT: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    HIDDEN: tl.constexpr,
    CHUNK: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    BEFORE: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Leave M, S and the anchor as the next segment enters with them, where it restarts and opens as it does there."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, _ = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    past: tl.constexpr = 1 if PAST > 0 else 0
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    share, _ = shares(curvature + at * (PAST + TOKENS), i, slots, NORMALISED)
    x = loaded(errors + at * (PAST + TOKENS) * VALUES, i, v, slots, VALUES) * share[:, None]
    outer, inner = own * VALUES * HIDDEN, own * HIDDEN * FEATURES
    z, felt = at_anchor(k, x, a_outer + outer, a_inner + inner, v, unit, d, FEATURES, VALUES, HIDDEN, PRECISION)
    h, slope = gelu(z)
    left = felt * slope
    row_w, row_u = last_rows(inside, last_u, at, i, slots, TOKENS, PAST)
    w_m, w_s, u_s = last_shares(from_m, from_s, last_u_s, at, TOKENS)
    behind = at // HEADS + BATCH
    more = behind < SEGMENTS * BATCH
    restarts = tl.load(borders + 3 * SEGMENTS * BATCH + behind, mask=more, other=0) != 0
    opens = tl.load(borders + 4 * SEGMENTS * BATCH + behind, mask=more, other=0) != 0
    by_m = multiplied(tl.trans(x * row_w), h, PRECISION)
    by_s = multiplied(tl.trans(x * row_u), h, PRECISION)
    m, s, a, of_v = m_outer + outer, s_outer + outer, a_outer + outer, v < VALUES
    first, step = initial_outer + head * VALUES * HIDDEN, BATCH * HEADS * VALUES * HIDDEN
    _grown(m, s, a, first, step, v, unit, of_v, by_m, by_s, w_m, w_s, u_s, restarts, opens, HIDDEN, ALWAYS)
    by_m = multiplied(tl.trans(left * row_w), k, PRECISION)
    by_s = multiplied(tl.trans(left * row_u), k, PRECISION)
    m, s, a, of_unit = m_inner + inner, s_inner + inner, a_inner + inner, unit < HIDDEN
    first, step = initial_inner + head * HIDDEN * FEATURES, BATCH * HEADS * HIDDEN * FEATURES
    _grown(m, s, a, first, step, unit, d, of_unit, by_m, by_s, w_m, w_s, u_s, restarts, opens, FEATURES, ALWAYS)

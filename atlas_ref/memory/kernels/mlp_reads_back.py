"""The adjoint of the reads of a group of segments, all at once: what needs nothing of the segments behind.

With dY of the reads, C = (Q K^T) o W, P = A H^T, N = (dY X^T) o W, rows of W scaled by W[:, M] and W[:, S]:

    dA = W[:, M] (dY M1) + W[:, S] (dY S1) + N H,      dZ = dA o gelu'(asked)
    dH = N^T A,      dL = C^T dZ,      dX = (P o W)^T dY,      dC = (dZ L^T) o W,      dK = dC^T Q
    dQ = I^T dY + W[:, M] (dZ M2) + W[:, S] (dZ S2) + dC K
    dW = (dZ L^T) o (Q K^T) + P o (dY X^T),      dW[t, M] = a . (dY M1) + q . (dZ M2), S alike

`units_back`, a program for each block of hidden units, stores what belongs to these; `rows_back` and `queries_back` sum
over them.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied, stored
from atlas_ref.memory.kernels.mlp_parts import gelu, numbers, seen_slots, shares
from atlas_ref.memory.kernels.parts import located, mixed, near, some_of


@compiled
def units_back(
    queries: tl.tensor,
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    borders: tl.tensor,
    m_outer: tl.tensor,
    s_outer: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    d_found: tl.tensor,
    of_z: tl.tensor,
    of_asked: tl.tensor,
    d_hidden: tl.tensor,
    d_left: tl.tensor,
    d_asked: tl.tensor,
    to_m: tl.tensor,
    to_s: tl.tensor,
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
    """Store dH, dL and dZ of a block of hidden units, and the part of dW[:, M] and dW[:, S] that is of W1."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v, t = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE), tl.arange(0, TOKEN_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, tokens, held, of_v, when = PAST + TOKENS, t < length, t < TOKENS, v < VALUES, t - 1 if BEFORE else t
    outer, slot_units, token_units = own * VALUES * HIDDEN, own * SLOTS * HIDDEN, own * TOKENS * HIDDEN
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, held)
    a, slope = gelu(loaded(of_asked + token_units, t, unit, held, HIDDEN))
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
    via = multiplied(d_y, loaded(m_outer + outer, v, unit, of_v, HIDDEN), PRECISION)
    mark = (own * tl.num_programs(1) + tl.program_id(1)) * TOKENS + t
    tl.store(to_m + mark, tl.sum(via * a, 1), mask=held)
    d_a = share_m[:, None] * via
    via = multiplied(d_y, loaded(s_outer + outer, v, unit, of_v, HIDDEN), PRECISION)
    tl.store(to_s + mark, tl.sum(via * a, 1), mask=held)
    d_a += share_s[:, None] * via
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    rows = some_of(inside + at * TOKENS * SLOTS, when, i, held & (when >= 0), slots, SLOTS)
    alike = multiplied(d_y, tl.trans(x), PRECISION) * rows
    h, _ = gelu(loaded(of_z + slot_units, i, unit, slots, HIDDEN))
    d_z = (d_a + multiplied(alike, h, PRECISION)) * slope
    stored(d_asked + token_units, t, unit, held, d_z, HIDDEN)
    stored(d_hidden + slot_units, i, unit, slots, multiplied(tl.trans(alike), a, PRECISION), HIDDEN)
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
    close = multiplied(q, tl.trans(k), PRECISION) * rows
    stored(d_left + slot_units, i, unit, slots, multiplied(tl.trans(close), d_z, PRECISION), HIDDEN)


@compiled
def rows_back(
    queries: tl.tensor,
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    borders: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    d_found: tl.tensor,
    of_z: tl.tensor,
    of_felt: tl.tensor,
    of_asked: tl.tensor,
    d_asked: tl.tensor,
    d_share: tl.tensor,
    d_near: tl.tensor,
    d_close: tl.tensor,
    d_inside: tl.tensor,
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
    """Store the gradients of rows of W, dC, and what keys and errors get from the reads."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v, t = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE), tl.arange(0, TOKEN_TILE)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, tokens, held, when = PAST + TOKENS, t < length, t < TOKENS, t - 1 if BEFORE else t
    slot_units, token_units, known = own * SLOTS * HIDDEN, own * TOKENS * HIDDEN, held & (when >= 0)
    of_close = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    alike = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    for first in range(0, HIDDEN, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        h, slope = gelu(loaded(of_z + slot_units, i, unit, slots, HIDDEN))
        a, _slope = gelu(loaded(of_asked + token_units, t, unit, held, HIDDEN))
        alike += multiplied(a, tl.trans(h), PRECISION)
        left = loaded(of_felt + slot_units, i, unit, slots, HIDDEN) * slope
        d_z = loaded(d_asked + token_units, t, unit, held, HIDDEN)
        of_close += multiplied(d_z, tl.trans(left), PRECISION)
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    of_rows = multiplied(d_y, tl.trans(x), PRECISION) * alike
    rows = some_of(inside + at * TOKENS * SLOTS, when, i, known, slots, SLOTS)
    stored(d_share + own * SLOTS * VALUES, i, v, slots, multiplied(tl.trans(alike * rows), d_y, PRECISION), VALUES)
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
    of_rows += multiplied(q, tl.trans(k), PRECISION) * of_close
    entry = when[:, None] * SLOTS + i[None, :]
    tl.store(d_inside + at * TOKENS * SLOTS + entry, of_rows, mask=known[:, None] & slots[None, :])
    of_close *= rows
    entry = t[:, None] * SLOTS + i[None, :]
    tl.store(d_close + own * TOKENS * SLOTS + entry, of_close, mask=held[:, None] & slots[None, :])
    stored(d_near + own * SLOTS * FEATURES, i, d, slots, multiplied(tl.trans(of_close), q, PRECISION), FEATURES)


@compiled
def queries_back(
    queries: tl.tensor,
    keys: tl.tensor,
    old_keys: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    borders: tl.tensor,
    m_inner: tl.tensor,
    s_inner: tl.tensor,
    d_found: tl.tensor,
    d_asked: tl.tensor,
    d_close: tl.tensor,
    to_m: tl.tensor,
    to_s: tl.tensor,
    d_queries: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
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
    """Store the gradients of queries, and of W[:, M] and W[:, S]."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, t = tl.arange(0, FEATURE_TILE), tl.arange(0, TOKEN_TILE)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, tokens, held, when = PAST + TOKENS, t < length, t < TOKENS, t - 1 if BEFORE else t
    inner, blocks = own * HIDDEN * FEATURES, tl.cdiv(HIDDEN, BLOCK)
    by_m = tl.zeros([TOKEN_TILE, FEATURE_TILE], tl.float32)
    by_s = tl.zeros([TOKEN_TILE, FEATURE_TILE], tl.float32)
    of_m, of_s = tl.zeros([TOKEN_TILE], tl.float32), tl.zeros([TOKEN_TILE], tl.float32)
    for block in range(blocks):
        unit = block * BLOCK + tl.arange(0, BLOCK)
        d_z = loaded(d_asked + own * TOKENS * HIDDEN, t, unit, held, HIDDEN)
        by_m += multiplied(d_z, loaded(m_inner + inner, unit, d, unit < HIDDEN, FEATURES), PRECISION)
        by_s += multiplied(d_z, loaded(s_inner + inner, unit, d, unit < HIDDEN, FEATURES), PRECISION)
        of_m += tl.load(to_m + (own * blocks + block) * TOKENS + t, mask=held, other=0.0)
        of_s += tl.load(to_s + (own * blocks + block) * TOKENS + t, mask=held, other=0.0)
    q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
    known = held & (when >= 0)
    tl.store(d_from_m + at * TOKENS + when, of_m + tl.sum(by_m * q, 1), mask=known)
    tl.store(d_from_s + at * TOKENS + when, of_s + tl.sum(by_s * q, 1), mask=known)
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, held)
    d_q = share_m[:, None] * by_m + share_s[:, None] * by_s
    d_q += loaded(d_found + place * VALUES, t * HEADS, d, tokens, VALUES).to(tl.float32)
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    d_q += multiplied(some_of(d_close + own * TOKENS * SLOTS, t, i, held, slots, SLOTS), k, PRECISION)
    stored(d_queries + place * FEATURES, t * HEADS, d, tokens, d_q, FEATURES)

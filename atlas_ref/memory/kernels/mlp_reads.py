"""What the tokens of a group of segments read, all at once, each with its own row of W.

    a_t = gelu(W[t, M] M2 q + W[t, S] S2 q + sum_i W[t, i] (k_i . q_t) l_i)
    y_t = I q + W[t, M] M1 a + W[t, S] S1 a + sum_i W[t, i] (h_i . a_t) x_i

with M and S what the segment entered with, and the factors of `mlp_parts`; under `pre` token t reads with row t - 1.
`asked` stores what stands in gelu, a program for each block of hidden units, and `reads` sums over them.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied, stored
from atlas_ref.memory.kernels.mlp_parts import at_anchor, gelu, numbers, seen_slots, shares
from atlas_ref.memory.kernels.parts import located, mixed, near, some_of


@compiled
def asked(
    queries: tl.tensor,
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    borders: tl.tensor,
    m_inner: tl.tensor,
    s_inner: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    of_z: tl.tensor,
    of_felt: tl.tensor,
    of_asked: tl.tensor,
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
    """Store z and X A1 of the slots of each segment, and what is asked of W1 by its tokens, before gelu."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v, t = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE), tl.arange(0, TOKEN_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, held, when = PAST + TOKENS, t < TOKENS, t - 1 if BEFORE else t
    outer, inner = own * VALUES * HIDDEN, own * HIDDEN * FEATURES
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    z, felt = at_anchor(k, x, a_outer + outer, a_inner + inner, v, unit, d, FEATURES, VALUES, HIDDEN, PRECISION)
    stored(of_z + own * SLOTS * HIDDEN, i, unit, slots, z, HIDDEN)
    stored(of_felt + own * SLOTS * HIDDEN, i, unit, slots, felt, HIDDEN)
    _, slope = gelu(z)
    q = loaded(queries + place * FEATURES, t * HEADS, d, t < length, FEATURES).to(tl.float32)
    rows = some_of(inside + at * TOKENS * SLOTS, when, i, held & (when >= 0), slots, SLOTS)
    found = multiplied(multiplied(q, tl.trans(k), PRECISION) * rows, felt * slope, PRECISION)
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, held)
    m = loaded(m_inner + inner, unit, d, unit < HIDDEN, FEATURES)
    found += multiplied(q * share_m[:, None], tl.trans(m), PRECISION)
    s = loaded(s_inner + inner, unit, d, unit < HIDDEN, FEATURES)
    found += multiplied(q * share_s[:, None], tl.trans(s), PRECISION)
    stored(of_asked + own * TOKENS * HIDDEN, t, unit, held, found, HIDDEN)


@compiled
def reads(
    queries: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    borders: tl.tensor,
    m_outer: tl.tensor,
    s_outer: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    of_z: tl.tensor,
    of_asked: tl.tensor,
    found: tl.tensor,
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
    """Store what the tokens of each segment read."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    _, _, _, length, _, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, v, t = tl.arange(0, SLOT_TILE), tl.arange(0, VALUE_TILE), tl.arange(0, TOKEN_TILE)
    SLOTS, outer, slots = PAST + TOKENS, own * VALUES * HIDDEN, i < PAST + TOKENS
    of_v, held, when = v < VALUES, t < TOKENS, t - 1 if BEFORE else t
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, held)
    y = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    alike = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    for first in range(0, HIDDEN, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        a, _slope = gelu(loaded(of_asked + own * TOKENS * HIDDEN, t, unit, held, HIDDEN))
        h, _slope = gelu(loaded(of_z + own * SLOTS * HIDDEN, i, unit, slots, HIDDEN))
        alike += multiplied(a, tl.trans(h), PRECISION)
        m = loaded(m_outer + outer, v, unit, of_v, HIDDEN)
        y += multiplied(a * share_m[:, None], tl.trans(m), PRECISION)
        s = loaded(s_outer + outer, v, unit, of_v, HIDDEN)
        y += multiplied(a * share_s[:, None], tl.trans(s), PRECISION)
    rows = some_of(inside + at * TOKENS * SLOTS, when, i, held & (when >= 0), slots, SLOTS)
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    y += multiplied(alike * rows, x, PRECISION)
    y += loaded(queries + place * FEATURES, t * HEADS, v, t < length, FEATURES).to(tl.float32)
    stored(found + place * VALUES, t * HEADS, v, t < length, y, VALUES)

"""Gradients of the keys and values of a group of segments, when all of its gradients of states are known.

With what `mlp_reads_back` and `mlp_writes_back` left, and dM and dS of what each segment left (primed):

    dK = (dC o W)^T Q + (L o w) dM2' + (L o u) dS2' + dz A2 + I^T dE + pull k,      dV = -dE
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied, stored
from atlas_ref.memory.kernels.mlp_parts import gelu, last_rows, numbers, seen_slots
from atlas_ref.memory.kernels.parts import located, near


@compiled
def keys_back(
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    last_u: tl.tensor,
    borders: tl.tensor,
    a_inner: tl.tensor,
    d_m_inner: tl.tensor,
    d_s_inner: tl.tensor,
    of_z: tl.tensor,
    of_felt: tl.tensor,
    d_hidden: tl.tensor,
    d_near: tl.tensor,
    d_errors: tl.tensor,
    pulls: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    near_keys: tl.tensor,
    near_values: tl.tensor,
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
    """Store the gradients of a segment's own tokens where they stand, and of its window beside it."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, size = PAST + TOKENS, HIDDEN * FEATURES
    units, inner, left_inner = own * SLOTS * HIDDEN, own * size, (own + BATCH * HEADS) * size
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    row_w, row_u = last_rows(inside, last_u, at, i, slots, TOKENS, PAST)
    d_k = k * tl.load(pulls + own * SLOTS + i, mask=slots, other=0.0)[:, None]
    d_k += loaded(d_near + own * SLOTS * FEATURES, i, d, slots, FEATURES)
    d_k += loaded(d_errors + own * SLOTS * VALUES, i, d, slots, VALUES)
    for first in range(0, HIDDEN, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        of_unit = unit < HIDDEN
        _h, slope = gelu(loaded(of_z + units, i, unit, slots, HIDDEN))
        left = loaded(of_felt + units, i, unit, slots, HIDDEN) * slope
        d_k += multiplied(left * row_w, loaded(d_m_inner + left_inner, unit, d, of_unit, FEATURES), PRECISION)
        d_k += multiplied(left * row_u, loaded(d_s_inner + left_inner, unit, d, of_unit, FEATURES), PRECISION)
        d_z = loaded(d_hidden + units, i, unit, slots, HIDDEN)
        d_k += multiplied(d_z, loaded(a_inner + inner, unit, d, of_unit, FEATURES), PRECISION)
    d_v = -loaded(d_errors + own * SLOTS * VALUES, i, v, slots, VALUES)
    mine, first = sight & (i >= PAST), place - PAST * HEADS
    stored(d_keys + first * FEATURES, i * HEADS, d, mine, d_k, FEATURES)
    stored(d_values + first * VALUES, i * HEADS, v, mine, d_v, VALUES)
    if PAST > 0:
        stored(near_keys + at * PAST * FEATURES, i, d, i < PAST, d_k, FEATURES)
        stored(near_values + at * PAST * VALUES, i, v, i < PAST, d_v, VALUES)

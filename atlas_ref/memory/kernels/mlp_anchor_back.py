"""What a segment knew at its anchor, back to its errors and to the anchor, which M was where it opened.

With dX and dL of the factors, dM1 and dS1 of what the segment left (primed), x = e r and w, u the last rows of W, U:

    dE = r dX + (dk of kappa) e,      dk = -r^2 (dX . e) where kappa divides
    dH += (X o w) dM1' + (X o u) dS1' + dE A1 + 2 dk h
    dG = dL o (X A1) + 2 dk ||k||^2 gelu'(z) ||A1[:, j]||^2,      dz = dH o gelu'(z) + dG o gelu''(z)
    dA1 += X^T (dL o gelu'(z)) + dE^T h + 2 (sum dk ||k||^2 gelu'(z)^2) o A1,      dA2 += dz^T K

`errors_back` is a program for each memory, `slots_back` (dz) and `anchor_back` one for each block of its hidden units.
They stand between `mlp_writes_back.written_back` and `carried_back`.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied, stored
from atlas_ref.memory.kernels.mlp_parts import SLOPE, bend, gelu, last_rows, numbers, seen_slots, shares
from atlas_ref.memory.kernels.parts import located, near


@compiled
def errors_back(
    keys: tl.tensor,
    old_keys: tl.tensor,
    borders: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    bounds: tl.tensor,
    parts: tl.tensor,
    d_share: tl.tensor,
    d_errors: tl.tensor,
    d_curvature: tl.tensor,
    pulls: tl.tensor,
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
    """Store dE, dk, and by what a key is multiplied to what it gets from kappa through ||k||."""
    memory, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, _ = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, blocks = PAST + TOKENS, tl.cdiv(HIDDEN, BLOCK)
    d_x = loaded(d_share + own * SLOTS * VALUES, i, v, slots, VALUES)
    for block in range(blocks):
        d_x += loaded(parts + (memory * blocks + block) * SLOTS * VALUES, i, v, slots, VALUES)
    share, kappa = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    d_e, d_kappa, pull = d_x * share[:, None], kappa * 0.0, kappa * 0.0
    if NORMALISED:
        e = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES)
        k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
        d_kappa = tl.where(kappa >= 1.0, -share * share * tl.sum(d_x * e, 1), 0.0)
        long, missed = tl.sqrt(tl.sum(k * k, 1)), tl.sqrt(tl.sum(e * e, 1))
        # A length of 0 has a gradient of 0; where one of the two is, so is this term.
        either = (long > 0.0) & (missed > 0.0)
        stretch = tl.where(either, long, 1.0) / tl.where(either, missed, 1.0)
        turning = tl.where(either, SLOPE * d_kappa, 0.0)
        d_e += (turning * stretch)[:, None] * e
        pull = 2.0 * d_kappa * tl.load(bounds + at * SLOTS + i, mask=slots, other=0.0) + turning / stretch
    stored(d_errors + own * SLOTS * VALUES, i, v, slots, d_e, VALUES)
    tl.store(d_curvature + own * SLOTS + i, d_kappa, mask=slots)
    tl.store(pulls + own * SLOTS + i, pull, mask=slots)


@compiled
def slots_back(
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    last_u: tl.tensor,
    borders: tl.tensor,
    a_outer: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    d_m_outer: tl.tensor,
    d_s_outer: tl.tensor,
    of_z: tl.tensor,
    of_felt: tl.tensor,
    d_hidden: tl.tensor,
    d_left: tl.tensor,
    d_errors: tl.tensor,
    d_curvature: tl.tensor,
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
    """Store dz of a block of hidden units where dH was."""
    _, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, _ = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, of_v, size = PAST + TOKENS, v < VALUES, VALUES * HIDDEN
    units, left = own * SLOTS * HIDDEN, (own + BATCH * HEADS) * size
    w1 = loaded(a_outer + own * size, v, unit, of_v, HIDDEN)
    d_h = multiplied(loaded(d_errors + own * SLOTS * VALUES, i, v, slots, VALUES), w1, PRECISION)
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    row_w, row_u = last_rows(inside, last_u, at, i, slots, TOKENS, PAST)
    d_h += multiplied(x * row_w, loaded(d_m_outer + left, v, unit, of_v, HIDDEN), PRECISION)
    d_h += multiplied(x * row_u, loaded(d_s_outer + left, v, unit, of_v, HIDDEN), PRECISION)
    d_h += loaded(d_hidden + units, i, unit, slots, HIDDEN)
    z = loaded(of_z + units, i, unit, slots, HIDDEN)
    h, slope = gelu(z)
    d_slope = loaded(d_left + units, i, unit, slots, HIDDEN) * loaded(of_felt + units, i, unit, slots, HIDDEN)
    if NORMALISED:
        k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
        d_kappa = 2.0 * tl.load(d_curvature + own * SLOTS + i, mask=slots, other=0.0)
        d_h += d_kappa[:, None] * h
        d_slope += (d_kappa * tl.sum(k * k, 1))[:, None] * slope * tl.sum(w1 * w1, 0)[None, :]
    stored(d_hidden + units, i, unit, slots, d_h * slope + d_slope * bend(z), HIDDEN)


@compiled
def anchor_back(
    keys: tl.tensor,
    old_keys: tl.tensor,
    borders: tl.tensor,
    a_outer: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    of_z: tl.tensor,
    d_hidden: tl.tensor,
    d_left: tl.tensor,
    d_errors: tl.tensor,
    d_curvature: tl.tensor,
    d_a_outer: tl.tensor,
    d_a_inner: tl.tensor,
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
    """Add to the gradient of the anchor."""
    memory, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, _ = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, of_v, size = PAST + TOKENS, v < VALUES, VALUES * HIDDEN
    units, inner = own * SLOTS * HIDDEN, d_a_inner + memory * HIDDEN * FEATURES
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    d_z = loaded(d_hidden + units, i, unit, slots, HIDDEN)
    gain = loaded(inner, unit, d, unit < HIDDEN, FEATURES) + multiplied(tl.trans(d_z), k, PRECISION)
    stored(inner, unit, d, unit < HIDDEN, gain, FEATURES)
    h, slope = gelu(loaded(of_z + units, i, unit, slots, HIDDEN))
    d_e = loaded(d_errors + own * SLOTS * VALUES, i, v, slots, VALUES)
    gain = multiplied(tl.trans(d_e), h, PRECISION)
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    d_l = loaded(d_left + units, i, unit, slots, HIDDEN)
    gain += multiplied(tl.trans(x), d_l * slope, PRECISION)
    if NORMALISED:
        weight = 2.0 * tl.load(d_curvature + own * SLOTS + i, mask=slots, other=0.0) * tl.sum(k * k, 1)
        w1 = loaded(a_outer + own * size, v, unit, of_v, HIDDEN)
        gain += tl.sum(weight[:, None] * slope * slope, 0)[None, :] * w1
    gain += loaded(d_a_outer + memory * size, v, unit, of_v, HIDDEN)
    stored(d_a_outer + memory * size, v, unit, of_v, gain, HIDDEN)

"""The adjoint of the writes, from the last segment to the first, a program for each memory and block of hidden units.

With dM and dS of what the segment left (primed), A its anchor, x = e r, and what `mlp_reads_back` has found before:

    dL += w o (K dM2'^T) + u o (K dS2'^T),      dX += w o (H dM1'^T) + u o (H dS1'^T) + (dL o gelu'(z)) A1^T
    dM <- w_m dM' + (dY o W[:, M])^T a,         dS <- w_s dM' + u_s dS' + (dY o W[:, S])^T a,      dZ and Q of W2

`written_back` has what a slot gets from what is written, and `carried_back` what goes on to the segment before, when
`mlp_anchor_back` has gone back to the anchor.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied, stored
from atlas_ref.memory.kernels.mlp_parts import gelu, last_rows, last_shares, numbers, seen_slots, shares
from atlas_ref.memory.kernels.parts import located, mixed, near


@compiled
def written_back(
    keys: tl.tensor,
    old_keys: tl.tensor,
    inside: tl.tensor,
    last_u: tl.tensor,
    borders: tl.tensor,
    a_outer: tl.tensor,
    errors: tl.tensor,
    curvature: tl.tensor,
    d_m_outer: tl.tensor,
    d_m_inner: tl.tensor,
    d_s_outer: tl.tensor,
    d_s_inner: tl.tensor,
    of_z: tl.tensor,
    of_felt: tl.tensor,
    d_left: tl.tensor,
    parts: tl.tensor,
    d_last_w: tl.tensor,
    d_last_u: tl.tensor,
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
    """Add to dL what W2 was written, and store a part of dX, and of the last rows of W and U, for a block."""
    memory, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    row, head, start, length, before, _ = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    i, slots, sight = seen_slots(SLOT_TILE, length, before, TOKENS, PAST)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    past: tl.constexpr = 1 if PAST > 0 else 0
    SLOTS, of_v, of_unit = PAST + TOKENS, v < VALUES, unit < HIDDEN
    units, outer, inner = own * SLOTS * HIDDEN, own * VALUES * HIDDEN, own * HIDDEN * FEATURES
    left_outer, left_inner = outer + BATCH * HEADS * VALUES * HIDDEN, inner + BATCH * HEADS * HIDDEN * FEATURES
    row_w, row_u = last_rows(inside, last_u, at, i, slots, TOKENS, PAST)
    z = loaded(of_z + units, i, unit, slots, HIDDEN)
    h, slope = gelu(z)
    left = loaded(of_felt + units, i, unit, slots, HIDDEN) * slope
    k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, past)
    via_m = multiplied(k, tl.trans(loaded(d_m_inner + left_inner, unit, d, of_unit, FEATURES)), PRECISION)
    via_s = multiplied(k, tl.trans(loaded(d_s_inner + left_inner, unit, d, of_unit, FEATURES)), PRECISION)
    to_w, to_u = tl.sum(via_m * left, 1), tl.sum(via_s * left, 1)
    d_l = loaded(d_left + units, i, unit, slots, HIDDEN) + row_w * via_m + row_u * via_s
    stored(d_left + units, i, unit, slots, d_l, HIDDEN)
    via_m = multiplied(h, tl.trans(loaded(d_m_outer + left_outer, v, unit, of_v, HIDDEN)), PRECISION)
    via_s = multiplied(h, tl.trans(loaded(d_s_outer + left_outer, v, unit, of_v, HIDDEN)), PRECISION)
    share, _ = shares(curvature + at * SLOTS, i, slots, NORMALISED)
    x = loaded(errors + at * SLOTS * VALUES, i, v, slots, VALUES) * share[:, None]
    to_w, to_u = to_w + tl.sum(via_m * x, 1), to_u + tl.sum(via_s * x, 1)
    d_x = row_w * via_m + row_u * via_s
    d_x += multiplied(d_l * slope, tl.trans(loaded(a_outer + outer, v, unit, of_v, HIDDEN)), PRECISION)
    mine = tl.num_programs(1) * memory + tl.program_id(1)
    stored(parts + mine * SLOTS * VALUES, i, v, slots, d_x, VALUES)
    mine = (tl.program_id(1) * SEGMENTS * BATCH * HEADS + at) * SLOTS + i
    tl.store(d_last_w + mine, to_w, mask=slots)
    tl.store(d_last_u + mine, to_u, mask=slots)


@compiled
def _carried(
    m_at: tl.tensor,
    s_at: tl.tensor,
    d_m_at: tl.tensor,
    d_s_at: tl.tensor,
    d_a_at: tl.tensor,
    d_first: tl.tensor,
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
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Store dM and dS of what a segment entered with, what reads gave them in, and return M . dM', S . dM', S . dS'."""
    d_m, d_s = loaded(d_m_at + to_next, row, column, there, WIDTH), loaded(d_s_at + to_next, row, column, there, WIDTH)
    m, s = loaded(m_at, row, column, there, WIDTH), loaded(s_at, row, column, there, WIDTH)
    d_w_m, d_w_s, d_u_s = tl.sum(m * d_m), tl.sum(s * d_m), tl.sum(s * d_s)
    d_s = w_s * d_m + u_s * d_s + by_s
    d_m = w_m * d_m + by_m
    if opens:
        d_a = loaded(d_a_at, row, column, there, WIDTH)
        d_m += d_a
        stored(d_a_at, row, column, there, d_a * 0.0, WIDTH)
    if restarts:
        stored(d_first, row, column, there, loaded(d_first, row, column, there, WIDTH) + d_m, WIDTH)
        d_m, d_s = d_m * 0.0, d_s * 0.0
    stored(d_m_at, row, column, there, d_m, WIDTH)
    stored(d_s_at, row, column, there, d_s, WIDTH)
    return d_w_m, d_w_s, d_u_s


@compiled
def carried_back(
    queries: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u_s: tl.tensor,
    borders: tl.tensor,
    m_outer: tl.tensor,
    m_inner: tl.tensor,
    s_outer: tl.tensor,
    s_inner: tl.tensor,
    d_found: tl.tensor,
    of_asked: tl.tensor,
    d_asked: tl.tensor,
    d_m_outer: tl.tensor,
    d_m_inner: tl.tensor,
    d_s_outer: tl.tensor,
    d_s_inner: tl.tensor,
    d_a_outer: tl.tensor,
    d_a_inner: tl.tensor,
    d_first_outer: tl.tensor,
    d_first_inner: tl.tensor,
    d_last_m: tl.tensor,
    d_last_s: tl.tensor,
    d_last_u_s: tl.tensor,
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
    """Go on to what the segment entered with: M takes what its anchor got where it opened, M_0 where it restarted."""
    memory, own, at = numbers(FIRST, SHIFT, BATCH, HEADS)
    _, _, _, length, _, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    d, v, t = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE), tl.arange(0, TOKEN_TILE)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    held, when = t < TOKENS, t - 1 if BEFORE else t
    mark = 3 * SEGMENTS * BATCH + at // HEADS
    restarts, opens = tl.load(borders + mark) != 0, tl.load(borders + mark + SEGMENTS * BATCH) != 0
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, held)
    w_m, w_s, u_s = last_shares(from_m, from_s, last_u_s, at, TOKENS)
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, t < length, VALUES).to(tl.float32)
    a, _ = gelu(loaded(of_asked + own * TOKENS * HIDDEN, t, unit, held, HIDDEN))
    by_m = multiplied(tl.trans(d_y * share_m[:, None]), a, PRECISION)
    by_s = multiplied(tl.trans(d_y * share_s[:, None]), a, PRECISION)
    size = VALUES * HIDDEN
    m, s, d_m, d_s = m_outer + own * size, s_outer + own * size, d_m_outer + own * size, d_s_outer + own * size
    d_a, first, step = d_a_outer + memory * size, d_first_outer + memory * size, BATCH * HEADS * size
    to_m, to_s, to_u = _carried(
        m, s, d_m, d_s, d_a, first, step, v, unit, v < VALUES, by_m, by_s, w_m, w_s, u_s, restarts, opens, HIDDEN
    )
    q = loaded(queries + place * FEATURES, t * HEADS, d, t < length, FEATURES).to(tl.float32)
    d_z = loaded(d_asked + own * TOKENS * HIDDEN, t, unit, held, HIDDEN)
    by_m = multiplied(tl.trans(d_z * share_m[:, None]), q, PRECISION)
    by_s = multiplied(tl.trans(d_z * share_s[:, None]), q, PRECISION)
    size = HIDDEN * FEATURES
    m, s, d_m, d_s = m_inner + own * size, s_inner + own * size, d_m_inner + own * size, d_s_inner + own * size
    d_a, first, step = d_a_inner + memory * size, d_first_inner + memory * size, BATCH * HEADS * size
    more_m, more_s, more_u = _carried(
        m, s, d_m, d_s, d_a, first, step, unit, d, unit < HIDDEN, by_m, by_s, w_m, w_s, u_s, restarts, opens, FEATURES
    )
    mine = tl.program_id(1) * SEGMENTS * BATCH * HEADS + at
    tl.store(d_last_m + mine, to_m + more_m)
    tl.store(d_last_s + mine, to_s + more_s)
    tl.store(d_last_u_s + mine, to_u + more_u)

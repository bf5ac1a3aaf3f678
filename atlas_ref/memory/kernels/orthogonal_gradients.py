"""The cotangents of a segment that no other segment waits for, a program for each head and block of features.

With Z_i = dY O_i, W_i = K dS_i^T and E the divided errors, for every token i that writes:

    d q_t = sum_i W[t, i] Z_i[t],                     d W[t, i] = q_t . Z_i[t],        d w_i = <O_i, dM>
    d k_s = sum_i U_i[s] (E^T dS_i)[s] + A^T d e_s,   d U_i[s] = e_s . W_i[s],         d U[i, S] = <dS_i, S>

and the same with M in the place of O_i, and with the momentum that the segment leaves in the place of S_i. What is
summed over features is a part of each block.
"""

import triton.language as tl

from atlas_ref.memory.kernels.iteration import by_largest, by_rows, narrow, product, times
from atlas_ref.memory.kernels.launching import compiled, loaded, stored


@compiled
def _shown(
    y: tl.tensor,
    of_y: tl.tensor,
    q: tl.tensor,
    of_q: tl.tensor,
    o: tl.tensor,
    share: tl.tensor,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return what dY leaves for the queries of tokens that read `share` of a matrix O, and for that share."""
    seen = of_y[:, None] * times(y, o, PRECISION)
    return share[:, None] * seen, of_q * tl.sum(q.to(tl.float32) * seen, 1)


@compiled
def _written(
    k: tl.tensor,
    of_k: tl.tensor,
    e: tl.tensor,
    of_e: tl.tensor,
    d_one: tl.tensor,
    own: tl.tensor,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return what dS leaves for the keys, whose factors have a part `own` in S, and for that part."""
    found = tl.sum(e.to(tl.float32) * times(k, tl.trans(d_one), PRECISION), 1)
    return (own * of_e)[:, None] * times(e, d_one, PRECISION), of_k * of_e * found


@compiled
def gradients(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    u: tl.tensor,
    mix: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    updates: tl.tensor,
    scales: tl.tensor,
    d_each: tl.tensor,
    factors: tl.tensor,
    d_reads: tl.tensor,
    d_m_after: tl.tensor,
    d_s_after: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    d_shares: tl.tensor,
    d_queries: tl.tensor,
    d_writing: tl.tensor,
    d_writing_s: tl.tensor,
    d_u: tl.tensor,
    d_u_s: tl.tensor,
    d_w: tl.tensor,
    d_mix: tl.tensor,
    FIRST: tl.tensor,
    ROWS: tl.tensor,
    ALL: tl.tensor,
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
    """Store them; `d_values` is read, as `carry_adjoint` left it."""
    here = tl.program_id(0).to(tl.int64)
    row, after = here + FIRST, here + FIRST + ROWS
    mine = tl.program_id(1) * ALL + row
    t, i = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE)
    d, v = tl.program_id(1) * FEATURE_TILE + tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    tokens, slots, of_v = t < TOKENS, i < SLOTS, v < VALUES
    of_m = of_v[:, None] & (d < FEATURES)[None, :]
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    # Errors are sums over all features.
    raw = -loaded(values + row * SLOTS * VALUES, i, v, slots, VALUES)
    for first in range(0, FEATURES, FEATURE_TILE):
        f = first + tl.arange(0, FEATURE_TILE)
        rows, of_rows = by_rows(loaded(anchor + row * VALUES * FEATURES, v, f, of_v, FEATURES), HALF)
        k = loaded(keys + row * SLOTS * FEATURES, i, f, slots, FEATURES)
        raw += product(k, tl.trans(rows), HALF, PRECISION) * of_rows[None, :]
    share = tl.load(shares + row * SLOTS + i, mask=slots, other=0.0)
    q, of_q = by_rows(loaded(queries + row * TOKENS * FEATURES, t, d, tokens, FEATURES), HALF)
    k, of_k = by_rows(loaded(keys + row * SLOTS * FEATURES, i, d, slots, FEATURES), HALF)
    y, of_y = by_rows(loaded(d_reads + row * TOKENS * VALUES, t, v, tokens, VALUES), HALF)
    e, of_e = by_rows(raw, HALF)
    # What the anchor has a part in, then what M and the S that is left have, then each token that writes.
    rows, of_rows = by_rows(tl.load(anchor + row * size + matrix, mask=of_m, other=0.0), HALF)
    d_raw = loaded(d_values + row * SLOTS * VALUES, i, v, slots, VALUES) * of_rows[None, :]
    d_k = -product(d_raw, rows, HALF, PRECISION)
    d_s, of_d_s = by_largest(tl.load(d_s_after + after * size + matrix, mask=of_m, other=0.0), HALF)
    s, of_s = by_largest(tl.load(momentum + row * size + matrix, mask=of_m, other=0.0), HALF)
    own = tl.load(u + row * SLOTS + i, mask=slots, other=0.0)
    more, found = _written(k, of_k, e, of_e, d_s, own * share * of_d_s, PRECISION)
    d_k += more
    d_share = own * found * of_d_s
    tl.store(d_u + mine * SLOTS + i, share * found * of_d_s, mask=slots)
    tl.store(d_u_s + mine, of_d_s * of_s * tl.sum(d_s.to(tl.float32) * s.to(tl.float32)))
    m, of_whole = by_largest(tl.load(weights + row * size + matrix, mask=of_m, other=0.0), HALF)
    d_m, of_d_m = by_largest(tl.load(d_m_after + after * size + matrix, mask=of_m, other=0.0), HALF)
    number, part = row * (WRITERS + 1), mine * (WRITERS + 1)
    own_share = tl.load(mix + (number + WRITERS) * TOKENS + t, mask=tokens, other=0.0)
    d_q, seen = _shown(y, of_y * of_whole, q, of_q, m, own_share, PRECISION)
    tl.store(d_mix + (part + WRITERS) * TOKENS + t, seen, mask=tokens)
    tl.store(d_w + part + WRITERS, of_whole * of_d_m * tl.sum(m.to(tl.float32) * d_m.to(tl.float32)))
    for n in range(WRITERS):
        near = here * WRITERS + n
        o, scale = tl.load(updates + near * size + matrix, mask=of_m, other=0.0), tl.load(scales + near)
        own_share = tl.load(mix + (number + n) * TOKENS + t, mask=tokens, other=0.0)
        more, seen = _shown(y, of_y * scale, q, of_q, o, own_share, PRECISION)
        d_q += more
        tl.store(d_mix + (part + n) * TOKENS + t, seen, mask=tokens)
        tl.store(d_w + part + n, scale * of_d_m * tl.sum(o.to(tl.float32) * d_m.to(tl.float32)))
        d_one, factor = tl.load(d_each + near * size + matrix, mask=of_m, other=0.0), tl.load(factors + near)
        own = tl.load(writing + (row * WRITERS + n) * SLOTS + i, mask=slots, other=0.0)
        more, found = _written(k, of_k, e, of_e, narrow(d_one, HALF), own * share * factor, PRECISION)
        d_k += more
        d_share += own * found * factor
        tl.store(d_writing + (mine * WRITERS + n) * SLOTS + i, share * found * factor, mask=slots)
        tl.store(d_writing_s + mine * WRITERS + n, factor * of_s * tl.sum(d_one * s.to(tl.float32)))
    stored(d_queries + row * TOKENS * FEATURES, t, d, tokens, d_q, FEATURES)
    stored(d_keys + row * SLOTS * FEATURES, i, d, slots, d_k, FEATURES)
    tl.store(d_shares + mine * SLOTS + i, d_share, mask=slots)

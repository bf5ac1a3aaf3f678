"""What a segment reads and leaves, a program for each head and block of values (`orthogonal`).

M <- sum_i w_i O_i + w_M M,      y_t = sum_i W[t, i] O_i q_t + W[t, M] M q_t,      S <- u_s S + (E o u)^T K
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, stored
from atlas_ref.memory.kernels.orthogonal_write import errors


@compiled
def read(
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
    """Store the reads, M and S after the segment, going over the tokens that write (module docstring)."""
    row = tl.program_id(0).to(tl.int64)
    t, i, d = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    tokens, of_v, of_d = t < TOKENS, v < VALUES, (d < FEATURES)[None, :]
    of_m = of_v[:, None] & of_d
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    q = loaded(queries, row * TOKENS + t, d, tokens, FEATURES)
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
    stored(reads, row * TOKENS + t, v, tokens, y, VALUES)
    k, raw, part = errors(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    part = part * tl.load(u + row * SLOTS + i, mask=i < SLOTS, other=0.0)
    s = tl.load(u_s + row) * tl.load(momentum + row * size + matrix, mask=of_m, other=0.0)
    s += tl.dot(tl.trans(raw * part[:, None]), k, input_precision=PRECISION)
    tl.store(s_after + row * size + matrix, s, mask=of_m)


@compiled
def read_adjoint(
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
    """Store the cotangents of all that `read` reads but the O_i; what is summed over values, a part a block."""
    row = tl.program_id(0).to(tl.int64)
    mine = tl.program_id(1) * ROWS + row
    t, i, d = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    tokens, slots, of_v, of_d = t < TOKENS, i < SLOTS, v < VALUES, (d < FEATURES)[None, :]
    of_m, of_q, of_k = of_v[:, None] & of_d, tokens[:, None] & of_d, slots[:, None] & of_d
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    k, raw, share = errors(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    error = raw * share[:, None]
    q = tl.load(queries + (row * TOKENS + t)[:, None] * FEATURES + d[None, :], mask=of_q, other=0.0)
    d_y = loaded(d_reads, row * TOKENS + t, v, tokens, VALUES)
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
    stored(d_values, row * SLOTS + i, v, slots, -d_raw, VALUES)
    tl.store(d_shares + mine * SLOTS + i, tl.sum(d_error * raw, 1), mask=slots)
    tl.store(d_anchor + row * size + matrix, tl.dot(tl.trans(d_raw), k, input_precision=PRECISION), mask=of_m)

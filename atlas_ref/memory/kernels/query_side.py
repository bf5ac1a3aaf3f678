"""Gradients of queries and of W, a program for each segment, row and head.

With what it entered with, M, S and A, the gradients dM and dS of what it left (`chunk_scan`), dY of its reads, E its
errors and C = Q K^T:

    dW = (dY E^T) o C,      dQ = W[:, M] (dY M) + W[:, S] (dY S) + ((dY E^T) o W) K,
    dW[t, M] = q_t . (dY M)_t,      dW[t, S] = q_t . (dY S)_t

and at the last row of W also M . dM and S . dM: what the segment leaves has these coordinates too, as S . dS that of U.
"""

import torch
import triton.language as tl
from torch import Tensor

from atlas_ref.memory.kernels.held import Borders, Entered, Left, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, factor, loaded, product, rounded, stored
from atlas_ref.memory.kernels.parts import factor_near, located, mixed, near, part_of, share_of, some_of


@compiled
def _left(
    weights: tl.tensor,
    momentum: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    first: tl.tensor,
    v: tl.tensor,
    d: tl.tensor,
    of_v: tl.tensor,
    FEATURES: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return tiles of M and S that a segment entered with, and of them M . dM, S . dM and S . dS of what it left."""
    m, s = loaded(weights + first, v, d, of_v, FEATURES), loaded(momentum + first, v, d, of_v, FEATURES)
    d_m, d_s = loaded(d_weights + first, v, d, of_v, FEATURES), loaded(d_momentum + first, v, d, of_v, FEATURES)
    return m, s, tl.sum(m * d_m), tl.sum(s * d_m), tl.sum(s * d_s)


@compiled
def _store_column(
    place: tl.tensor,
    of_tokens: tl.tensor,
    of_end: tl.tensor,
    when: tl.tensor,
    known: tl.tensor,
    at_end: tl.tensor,
    TOKENS: tl.tensor,
    BEFORE: tl.constexpr,
) -> None:
    """Store the gradient of a column of W; its last row, which nobody reads under `pre`, is what the segment left."""
    tl.store(place + when, of_tokens + tl.where(at_end, of_end, 0.0), mask=known)
    if BEFORE:
        tl.store(place + TOKENS - 1, of_end)


@compiled
def _store_inside(
    place: tl.tensor,
    found: tl.tensor,
    when: tl.tensor,
    i: tl.tensor,
    known: tl.tensor,
    slots: tl.tensor,
    TOKENS: tl.tensor,
    SLOTS: tl.tensor,
    BEFORE: tl.constexpr,
) -> None:
    """Store a tile of the gradient of W among the slots; its last row has none under `pre`."""
    tl.store(place + when[:, None] * SLOTS + i[None, :], found, mask=known[:, None] & slots[None, :])
    if BEFORE:
        tl.store(place + (TOKENS - 1) * SLOTS + i, tl.zeros([i.shape[0]], tl.float32), mask=slots)


@compiled
def _query_side(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    d_found: tl.tensor,
    borders: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchors: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    d_queries: tl.tensor,
    d_inside: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
    d_last_u_s: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    CHUNK: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    PAST_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BEFORE: tl.constexpr,
    ANCHOR: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64)
    SLOTS = PAST + TOKENS
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    t, v = tl.arange(0, TOKEN_TILE), tl.arange(0, VALUE_TILE)
    tokens, of_v, when = t < length, v < VALUES, t - 1 if BEFORE else t
    of_m = at * VALUES * FEATURES
    # Row t of W is read by token t, or under `pre` by the next; nobody reads the last row then.
    known, at_end = (t < TOKENS) & (when >= 0), when == TOKENS - 1
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, t < TOKENS)
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
    d_y = factor(d_y, d_found, PRECISION)
    to_m, to_s = tl.zeros([TOKEN_TILE], tl.float32), tl.zeros([TOKEN_TILE], tl.float32)
    d_w_m, d_w_s, d_u_s, d_q = 0.0, 0.0, 0.0, tl.zeros([TOKEN_TILE, BLOCK], tl.float32)
    for first in range(0, FEATURES, BLOCK):
        d = first + tl.arange(0, BLOCK)
        m, s, w_m, w_s, u_s = _left(weights, momentum, d_weights, d_momentum, of_m, v, d, of_v, FEATURES)
        d_w_m, d_w_s, d_u_s = d_w_m + w_m, d_w_s + w_s, d_u_s + u_s
        if ANCHOR:
            d_q = product(d_y, loaded(anchors + of_m, v, d, of_v, FEATURES), PRECISION)
        else:
            q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            by_m, by_s = product(d_y, m, PRECISION), product(d_y, s, PRECISION)
            to_m, to_s = to_m + tl.sum(by_m * q, 1), to_s + tl.sum(by_s * q, 1)
            d_q = share_m[:, None] * by_m + share_s[:, None] * by_s
        if ANCHOR or FEATURES > BLOCK:
            stored(d_queries + place * FEATURES, t * HEADS, d, tokens, d_q, FEATURES)
    _store_column(d_from_m + at * TOKENS, to_m, d_w_m, when, known, at_end, TOKENS, BEFORE)
    _store_column(d_from_s + at * TOKENS, to_s, d_w_s, when, known, at_end, TOKENS, BEFORE)
    tl.store(d_last_u_s + at, d_u_s)
    for part in tl.static_range(1 if PAST == 0 else 2):
        i, slots, sight = part_of(part, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
        close, d_mixed = tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32), tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32)
        if not ANCHOR:
            raw = -near(values, old_values, row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES, part)
            kappa = tl.zeros([i.shape[0]], tl.float32)
            for first in range(0, FEATURES, BLOCK):
                d = first + tl.arange(0, BLOCK)
                q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
                k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
                kappa += tl.sum(k * k, 1)
                k = factor_near(k, keys, old_keys, part, PRECISION)
                raw += product(k, tl.trans(loaded(anchors + of_m, v, d, of_v, FEATURES)), PRECISION)
                close += product(factor(q, queries, PRECISION), tl.trans(k), PRECISION)
            error = rounded(raw * share_of(kappa, NORMALISED)[:, None], PRECISION)
            d_mixed = product(d_y, tl.trans(error), PRECISION)
        _store_inside(d_inside + at * TOKENS * SLOTS, d_mixed * close, when, i, known, slots, TOKENS, SLOTS, BEFORE)
        if not ANCHOR:
            d_close = d_mixed * some_of(inside + at * TOKENS * SLOTS, when, i, known, slots, SLOTS)
            for first in range(0, FEATURES, BLOCK):
                d = first + tl.arange(0, BLOCK)
                k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
                if FEATURES > BLOCK:
                    tl.debug_barrier()
                    d_q = loaded(d_queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
                k = factor_near(k, keys, old_keys, part, PRECISION)
                d_q += product(rounded(d_close, PRECISION), k, PRECISION)
                if FEATURES > BLOCK:
                    stored(d_queries + place * FEATURES, t * HEADS, d, tokens, d_q, FEATURES)
    if not ANCHOR and FEATURES <= BLOCK:
        stored(d_queries + place * FEATURES, t * HEADS, tl.arange(0, BLOCK), tokens, d_q, FEATURES)


def query_side(
    sizes: Sizes,
    borders: Borders,
    queries: Tensor,
    pairs: Pairs,
    mix: Mixing,
    entered: Entered,
    left: Left,
    d_found: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return the gradients of queries, of the rows of W, and of the last coordinate of S in U (module docstring)."""
    d_queries, d_last_u_s = torch.empty_like(queries), torch.empty_like(mix.last_u_s)
    d_inside, d_from_s, d_from_m = (torch.empty_like(x) for x in mix[:3])
    _query_side[(sizes.segments * sizes.rows,)](
        queries,
        *pairs,
        d_found,
        borders.table,
        *mix[:3],
        *entered,
        *left,
        d_queries,
        d_inside,
        d_from_s,
        d_from_m,
        d_last_u_s,
        *sizes.of_tokens(),
        **LAUNCH,
    )
    return d_queries, (d_inside, d_from_s, d_from_m), d_last_u_s

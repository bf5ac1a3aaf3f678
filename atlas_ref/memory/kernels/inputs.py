"""Gradients of keys and values, of the coordinates that a segment leaves, and with `query_side` of all it was given.

A program for each segment, row and head, of its own tokens or of its window. With what it entered with, M, S and A, the
gradients dM and dS of what it left and P of its reads (`chunk_scan`), dY of these and C = Q K^T:

    dE = P + w o (K dM^T) + u o (K dS^T),      R = dE r,      dV = -R,      dC = (dY E^T) o W
    dK = (E o w) dM + (E o u) dS + R A + dC^T Q + 2 dkappa K
    dw = rows of E o (K dM^T),                 du = rows of E o (K dS^T)

What the window of a segment gets belongs to tokens of those before it, or of the call before; it is added at the end,
segment by segment, so that no sum depends on an order.
"""

import torch
import triton.language as tl
from torch import Tensor

from atlas_ref.memory.kernels.held import Borders, Entered, Left, Mixing, MixingGradients, Pairs, Sizes
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, factor, loaded, product, rounded, stored, tile
from atlas_ref.memory.kernels.parts import factor_near, located, near, part_of, segment, share_of, some_of
from atlas_ref.memory.kernels.query_side import query_side


@compiled
def _key_side(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    d_found: tl.tensor,
    missed: tl.tensor,
    borders: tl.tensor,
    inside: tl.tensor,
    last_u: tl.tensor,
    anchors: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    near_keys: tl.tensor,
    near_values: tl.tensor,
    d_last_w: tl.tensor,
    d_last_u: tl.tensor,
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
    PART: tl.constexpr,
) -> None:
    SLOTS = PAST + TOKENS
    at = tl.program_id(0).to(tl.int64)
    last = at * TOKENS + TOKENS - 1
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    t, v = tl.arange(0, TOKEN_TILE), tl.arange(0, VALUE_TILE)
    of_v, when = v < VALUES, t - 1 if BEFORE else t
    of_m, own = at * VALUES * FEATURES, place - PAST * HEADS
    i, slots, sight = part_of(PART, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
    raw = -near(values, old_values, row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES, PART)
    via_m = tl.zeros([i.shape[0], VALUE_TILE], tl.float32)
    via_s = tl.zeros([i.shape[0], VALUE_TILE], tl.float32)
    kappa = tl.zeros([i.shape[0]], tl.float32)
    for first in range(0, FEATURES, BLOCK):
        d = first + tl.arange(0, BLOCK)
        k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, PART)
        kappa += tl.sum(k * k, 1)
        k = factor_near(k, keys, old_keys, PART, PRECISION)
        raw += product(k, tl.trans(loaded(anchors + of_m, v, d, of_v, FEATURES)), PRECISION)
        via_m += product(k, tl.trans(loaded(d_weights + of_m, v, d, of_v, FEATURES)), PRECISION)
        via_s += product(k, tl.trans(loaded(d_momentum + of_m, v, d, of_v, FEATURES)), PRECISION)
    share = share_of(kappa, NORMALISED)
    error = raw * share[:, None]
    row_w = tl.load(inside + last * SLOTS + i, mask=slots, other=0.0)
    row_u = tl.load(last_u + at * SLOTS + i, mask=slots, other=0.0)
    tl.store(d_last_w + at * SLOTS + i, tl.sum(error * via_m, 1), mask=slots)
    tl.store(d_last_u + at * SLOTS + i, tl.sum(error * via_s, 1), mask=slots)
    d_error = row_w[:, None] * via_m + row_u[:, None] * via_s
    if not ANCHOR:
        d_error += loaded(missed + at * SLOTS * VALUES, i, v, slots, VALUES)
    d_kappa = tl.where(kappa >= 1.0, -share * share * tl.sum(d_error * raw, 1), 0.0)
    d_raw = d_error * share[:, None]
    if PART == 0:
        stored(d_values + own * VALUES, i * HEADS, v, sight, -d_raw, VALUES)
    else:
        stored(near_values + at * PAST * VALUES, i, v, slots, -d_raw, VALUES)
    d_close = tl.zeros([i.shape[0], TOKEN_TILE], tl.float32)
    if not ANCHOR:
        # The transpose of dC, for what sums over tokens.
        rows = some_of(inside + at * TOKENS * SLOTS, when, i, (t < TOKENS) & (when >= 0), slots, SLOTS)
        d_y = loaded(d_found + place * VALUES, t * HEADS, v, t < length, VALUES).to(tl.float32)
        d_y = factor(d_y, d_found, PRECISION)
        d_close = product(rounded(error, PRECISION), tl.trans(d_y), PRECISION) * tl.trans(rows)
    for first in range(0, FEATURES, BLOCK):
        d = first + tl.arange(0, BLOCK)
        d_m, d_s = loaded(d_weights + of_m, v, d, of_v, FEATURES), loaded(d_momentum + of_m, v, d, of_v, FEATURES)
        d_k = product(rounded(error * row_w[:, None], PRECISION), d_m, PRECISION)
        d_k += product(rounded(error * row_u[:, None], PRECISION), d_s, PRECISION)
        d_k += product(rounded(d_raw, PRECISION), loaded(anchors + of_m, v, d, of_v, FEATURES), PRECISION)
        if not ANCHOR:
            q = loaded(queries + place * FEATURES, t * HEADS, d, t < length, FEATURES).to(tl.float32)
            d_k += product(rounded(d_close, PRECISION), factor(q, queries, PRECISION), PRECISION)
        if NORMALISED:
            k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, PART)
            d_k += 2.0 * d_kappa[:, None] * k
        if PART == 0:
            stored(d_keys + own * FEATURES, i * HEADS, d, sight, d_k, FEATURES)
        else:
            stored(near_keys + at * PAST * FEATURES, i, d, slots, d_k, FEATURES)


@compiled
def _fold(
    near_pairs: tl.tensor,
    d_now: tl.tensor,
    d_old: tl.tensor,
    borders: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    REACH: tl.tensor,
    PAST: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add to each token of a segment, or of the call before it, what the windows behind it have for it."""
    program = tl.program_id(0).to(tl.int64)
    n, memory = program // (BATCH * HEADS) - 1, program % (BATCH * HEADS)
    row, head, marks = memory // HEADS, memory % HEADS, SEGMENTS * BATCH
    t, d = tl.arange(0, TOKEN_TILE), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    of_call = n >= 0
    mark = tl.maximum(n, 0) * BATCH + row
    first, length = tl.load(borders + mark), tl.load(borders + marks + mark)
    first, length = tl.where(of_call, first, -PAST), tl.where(of_call, length, PAST)
    token, there = first + t, t < length
    now, old = (row * TIME + token) * HEADS + head, (row * PAST + PAST + token) * HEADS + head
    total = loaded(d_now, now, d, there & of_call, WIDTH).to(tl.float32)
    for j in range(REACH):
        later = tl.minimum(n + 1 + j, SEGMENTS - 1)
        start, _, before = segment(borders, later * BATCH + row, marks, PAST, CHUNK)
        slot = token - start + PAST
        seen = there & (n + 1 + j < SEGMENTS) & (slot >= PAST - before) & (slot < PAST)
        total += loaded(near_pairs, (later * BATCH * HEADS + memory) * PAST + slot, d, seen, WIDTH)
    stored(d_now, now, d, there & of_call, total, WIDTH)
    stored(d_old, old, d, there & (n < 0), total, WIDTH)


def inputs_adjoint(
    sizes: Sizes,
    borders: Borders,
    queries: Tensor,
    pairs: Pairs,
    mix: Mixing,
    entered: Entered,
    left: Left,
    missed: Tensor,
    d_found: Tensor,
) -> tuple[Tensor, Pairs, MixingGradients]:
    """Return the gradients of queries, of pairs and of the coordinates (module docstring)."""
    d_pairs = Pairs._make(torch.empty_like(x) for x in pairs)
    d_queries, of_rows, d_last_u_s = query_side(sizes, borders, queries, pairs, mix, entered, left, d_found)
    d_last_w, d_last_u = torch.empty_like(mix.last_u), torch.empty_like(mix.last_u)
    rows = (sizes.segments, sizes.batch, sizes.heads, sizes.past)
    window = [mix.inside.new_empty(*rows, width) for width in (sizes.features, sizes.values)]
    for part in range(1 if sizes.past == 0 else 2):
        _key_side[(sizes.segments * sizes.rows,)](
            queries,
            *pairs,
            d_found,
            missed,
            borders.table,
            mix.inside,
            mix.last_u,
            entered.anchors,
            *left,
            *d_pairs[:2],
            *window,
            d_last_w,
            d_last_u,
            *sizes.of_tokens(),
            part,
            **LAUNCH,
        )
    if sizes.past:
        for each, now, old in zip(window, d_pairs[:2], d_pairs[2:], strict=True):
            folded(sizes, borders, each, now, old)
    return d_queries, d_pairs, MixingGradients(*of_rows, d_last_w, d_last_u, d_last_u_s)


def folded(sizes: Sizes, borders: Borders, window: Tensor, now: Tensor, old: Tensor) -> None:
    """Add what windows have for each token to its gradient; a segment that follows is no shorter than a chunk."""
    width = now.shape[-1]
    side, block = tile(max(sizes.tokens, sizes.past)), min(tile(width), 64)
    _fold[((sizes.segments + 1) * sizes.rows, -(-width // block))](
        window,
        now,
        old,
        borders.table,
        sizes.segments,
        sizes.batch,
        sizes.heads,
        sizes.time,
        sizes.reach,
        sizes.past,
        sizes.chunk,
        width,
        side,
        block,
        **LAUNCH,
    )

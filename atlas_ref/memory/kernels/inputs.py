"""Gradients of everything that a segment was given, a program for each segment, row and head.

With what it entered with, M, S and A, and the gradients dM and dS of what it left (`chunk_scan`), dY of its reads and
C = Q K^T:

    dE = (C o W)^T dY + w o (K dM^T) + u o (K dS^T),       R = dE r,       dV = -R,       dC = (dY E^T) o W
    dQ = W[:, M] (dY M) + W[:, S] (dY S) + dC K,           dK = (E o w) dM + (E o u) dS + R A + dC^T Q + dkappa 2 K
    dW = (dY E^T) o C,     dw = rows of E o (K dM^T),      du = rows of E o (K dS^T)

What the window of a segment gets belongs to tokens of those before it, or of the call before; it is added at the end,
segment by segment, so that no sum depends on an order.
"""

from typing import Final

import torch
import triton.language as tl
from torch import Tensor

from atlas_ref.memory.kernels.held import Borders, Entered, Left, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, loaded, stored, tile
from atlas_ref.memory.kernels.parts import mixed, near, part_of, segment, share_of, some_of

MANY: Final = {"num_warps": 8, "num_stages": 1}
"""Twice the threads of the other kernels: so many tiles at once would not fit into the registers of half of them."""


@compiled
def _gradients(
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
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchors: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    d_queries: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    near_keys: tl.tensor,
    near_values: tl.tensor,
    d_inside: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
    d_last_u: tl.tensor,
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
    SLOTS = PAST + TOKENS
    at = tl.program_id(0).to(tl.int64)
    mark, head = at // HEADS, at % HEADS
    row, last = mark % BATCH, at * TOKENS + TOKENS - 1
    start, length, before = segment(borders, mark, SEGMENTS * BATCH, PAST, CHUNK)
    t, v = tl.arange(0, TOKEN_TILE), tl.arange(0, VALUE_TILE)
    tokens, of_v, when = t < length, v < VALUES, t - 1 if BEFORE else t
    place, of_m = (row * TIME + start) * HEADS + head, at * VALUES * FEATURES
    own = (row * TIME + start - PAST) * HEADS + head
    # Row t of W is read by token t, or under `pre` by the next; nobody reads the last row then.
    known, at_end = (t < TOKENS) & (when >= 0), when == TOKENS - 1
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, t < TOKENS)
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
    to_m = tl.zeros([TOKEN_TILE], tl.float32)
    to_s = tl.zeros([TOKEN_TILE], tl.float32)
    d_w_m, d_w_s, d_u_s = 0.0, 0.0, 0.0
    for part in tl.static_range(1 if PAST == 0 else 2):
        i, slots, sight = part_of(part, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
        close = tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32)
        raw = -near(values, old_values, row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES, part)
        via_m = tl.zeros([i.shape[0], VALUE_TILE], tl.float32)
        via_s = tl.zeros([i.shape[0], VALUE_TILE], tl.float32)
        kappa = tl.zeros([i.shape[0]], tl.float32)
        for first in range(0, FEATURES, BLOCK):
            d = first + tl.arange(0, BLOCK)
            k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
            kappa += tl.sum(k * k, 1)
            raw += tl.dot(k, tl.trans(loaded(anchors + of_m, v, d, of_v, FEATURES)), input_precision=PRECISION)
            via_m += tl.dot(k, tl.trans(loaded(d_weights + of_m, v, d, of_v, FEATURES)), input_precision=PRECISION)
            via_s += tl.dot(k, tl.trans(loaded(d_momentum + of_m, v, d, of_v, FEATURES)), input_precision=PRECISION)
            if not ANCHOR:
                q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
                close += tl.dot(q, tl.trans(k), input_precision=PRECISION)
        share = share_of(kappa, NORMALISED)
        error = raw * share[:, None]
        row_w = tl.load(inside + last * SLOTS + i, mask=slots, other=0.0)
        row_u = tl.load(last_u + at * SLOTS + i, mask=slots, other=0.0)
        d_w = tl.sum(error * via_m, 1)
        tl.store(d_last_u + at * SLOTS + i, tl.sum(error * via_s, 1), mask=slots)
        d_error = row_w[:, None] * via_m + row_u[:, None] * via_s
        d_mixed = tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32)
        d_close = tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32)
        if not ANCHOR:
            rows = some_of(inside + at * TOKENS * SLOTS, when, i, known, slots, SLOTS)
            d_error += tl.dot(tl.trans(close * rows), d_y, input_precision=PRECISION)
            d_mixed = tl.dot(d_y, tl.trans(error), input_precision=PRECISION)
            d_close = d_mixed * rows
        d_rows = d_mixed * close + tl.where(at_end[:, None], d_w[None, :], 0.0)
        entry = d_inside + at * TOKENS * SLOTS + when[:, None] * SLOTS + i[None, :]
        tl.store(entry, d_rows, mask=known[:, None] & slots[None, :])
        if BEFORE:
            tl.store(d_inside + last * SLOTS + i, d_w, mask=slots)
        d_raw = d_error * share[:, None]
        if part == 0:
            stored(d_values + own * VALUES, i * HEADS, v, sight, -d_raw, VALUES)
        else:
            stored(near_values + at * PAST * VALUES, i, v, slots, -d_raw, VALUES)
        d_kappa = tl.where(kappa >= 1.0, -share * share * tl.sum(d_error * raw, 1), 0.0)
        for first in range(0, FEATURES, BLOCK):
            d = first + tl.arange(0, BLOCK)
            d_m, d_s = loaded(d_weights + of_m, v, d, of_v, FEATURES), loaded(d_momentum + of_m, v, d, of_v, FEATURES)
            a = loaded(anchors + of_m, v, d, of_v, FEATURES)
            k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
            q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            d_k = tl.dot(error * row_w[:, None], d_m, input_precision=PRECISION)
            d_k += tl.dot(error * row_u[:, None], d_s, input_precision=PRECISION)
            d_k += tl.dot(d_raw, a, input_precision=PRECISION)
            d_k += tl.dot(tl.trans(d_close), q, input_precision=PRECISION)
            if NORMALISED:
                d_k += 2.0 * d_kappa[:, None] * k
            d_q = tl.dot(d_close, k, input_precision=PRECISION)
            if part == 0:
                stored(d_keys + own * FEATURES, i * HEADS, d, sight, d_k, FEATURES)
                m, s = loaded(weights + of_m, v, d, of_v, FEATURES), loaded(momentum + of_m, v, d, of_v, FEATURES)
                d_w_m += tl.sum(m * d_m)
                d_w_s += tl.sum(s * d_m)
                d_u_s += tl.sum(s * d_s)
                if ANCHOR:
                    d_q += tl.dot(d_y, a, input_precision=PRECISION)
                else:
                    from_weights = tl.dot(d_y, m, input_precision=PRECISION)
                    from_momentum = tl.dot(d_y, s, input_precision=PRECISION)
                    to_m += tl.sum(from_weights * q, 1)
                    to_s += tl.sum(from_momentum * q, 1)
                    d_q += share_m[:, None] * from_weights + share_s[:, None] * from_momentum
            else:
                stored(near_keys + at * PAST * FEATURES, i, d, slots, d_k, FEATURES)
                # What the first part wrote.
                tl.debug_barrier()
                d_q += loaded(d_queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            stored(d_queries + place * FEATURES, t * HEADS, d, tokens, d_q, FEATURES)
    of_w = at * TOKENS + when
    tl.store(d_from_m + of_w, to_m + tl.where(at_end, d_w_m, 0.0), mask=known)
    tl.store(d_from_s + of_w, to_s + tl.where(at_end, d_w_s, 0.0), mask=known)
    if BEFORE:
        tl.store(d_from_m + last, d_w_m)
        tl.store(d_from_s + last, d_w_s)
    tl.store(d_last_u_s + at, d_u_s)


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
    d_found: Tensor,
) -> tuple[Tensor, Pairs, Mixing]:
    """Return the gradients of queries, of pairs and of the coordinates (module docstring)."""
    d_queries, d_pairs = torch.empty_like(queries), Pairs._make(torch.empty_like(x) for x in pairs)
    d_mix = Mixing._make(torch.empty_like(x) for x in mix)
    rows = (sizes.segments, sizes.batch, sizes.heads, sizes.past)
    window = [mix.inside.new_empty(*rows, width) for width in (sizes.features, sizes.values)]
    _gradients[(sizes.segments * sizes.rows,)](
        queries,
        *pairs,
        d_found,
        borders.table,
        *mix,
        *entered,
        *left,
        d_queries,
        *d_pairs[:2],
        *window,
        *d_mix,
        *sizes.of_tokens(),
        **MANY,
    )
    if sizes.past:
        for each, now, old in zip(window, d_pairs[:2], d_pairs[2:], strict=True):
            _folded(sizes, borders, each, now, old)
    return d_queries, d_pairs, d_mix


def _folded(sizes: Sizes, borders: Borders, window: Tensor, now: Tensor, old: Tensor) -> None:
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

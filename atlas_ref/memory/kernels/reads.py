"""What the tokens of a segment read, a program for each segment, row and head.

    y_t = W[t, M] M q_t + W[t, S] S q_t + sum_i W[t, i] (k_i . q_t) e_i,      e = (K A^T - V) r

with M, S and A what the segment entered with (`chunk_scan`) and W its coordinates (`coordinates`); under `pre` token t
reads with row t - 1, which is that of M alone at the first, and under `anchor` A q_t. The reference is
`linear._read_linear`. Features are gone through in blocks, so that wide ones need no larger tiles.
"""

import torch
import triton.language as tl
from torch import Tensor

from atlas_ref.memory.kernels.held import Borders, Entered, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.launching import compiled, loaded, stored
from atlas_ref.memory.kernels.parts import mixed, near, segment, share_of


@compiled
def _forward(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    borders: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchors: tl.tensor,
    found: tl.tensor,
    errors: tl.tensor,
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
    SLOT_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BEFORE: tl.constexpr,
    ANCHOR: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
    MEASURED: tl.constexpr,
) -> None:
    SLOTS = PAST + TOKENS
    at = tl.program_id(0).to(tl.int64)
    mark, head = at // HEADS, at % HEADS
    row = mark % BATCH
    start, length, before = segment(borders, mark, SEGMENTS * BATCH, PAST, CHUNK)
    t, i, v = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, VALUE_TILE)
    tokens, slots, of_v = t < length, i < SLOTS, v < VALUES
    place, of_m = (row * TIME + start) * HEADS + head, at * VALUES * FEATURES
    sight = (i >= PAST - before) & (i < PAST + length)
    via_m = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    via_s = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    close = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    predicted = tl.zeros([SLOT_TILE, VALUE_TILE], tl.float32)
    kappa = tl.zeros([SLOT_TILE], tl.float32)
    for first in range(0, FEATURES, BLOCK):
        d = first + tl.arange(0, BLOCK)
        q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES)
        a = loaded(anchors + of_m, v, d, of_v, FEATURES)
        kappa += tl.sum(k * k, 1)
        predicted += tl.dot(k, tl.trans(a), input_precision=PRECISION)
        if ANCHOR:
            via_m += tl.dot(q, tl.trans(a), input_precision=PRECISION)
        else:
            m, s = loaded(weights + of_m, v, d, of_v, FEATURES), loaded(momentum + of_m, v, d, of_v, FEATURES)
            via_m += tl.dot(q, tl.trans(m), input_precision=PRECISION)
            via_s += tl.dot(q, tl.trans(s), input_precision=PRECISION)
            close += tl.dot(q, tl.trans(k), input_precision=PRECISION)
    raw = predicted - near(values, old_values, row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES)
    if MEASURED:
        tl.store(errors + at * SLOTS + i, tl.sum(raw * raw, 1), mask=slots)
    y = via_m
    if not ANCHOR:
        error = raw * share_of(kappa, NORMALISED)[:, None]
        when = t - 1 if BEFORE else t
        share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, t < TOKENS)
        rows = loaded(inside + at * TOKENS * SLOTS, when, i, (t < TOKENS) & (when >= 0), SLOTS)
        y = share_m[:, None] * via_m + share_s[:, None] * via_s
        y += tl.dot(close * rows, error, input_precision=PRECISION)
    stored(found + place * VALUES, t * HEADS, v, tokens, y, VALUES)


@compiled
def _missed(
    queries: tl.tensor,
    keys: tl.tensor,
    old_keys: tl.tensor,
    d_found: tl.tensor,
    borders: tl.tensor,
    inside: tl.tensor,
    missed: tl.tensor,
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
    SLOT_TILE: tl.constexpr,
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
    row = mark % BATCH
    start, length, before = segment(borders, mark, SEGMENTS * BATCH, PAST, CHUNK)
    t, i, v = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, VALUE_TILE)
    place = (row * TIME + start) * HEADS + head
    sight = (i >= PAST - before) & (i < PAST + length)
    close = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    for first in range(0, FEATURES, BLOCK):
        d = first + tl.arange(0, BLOCK)
        q = loaded(queries + place * FEATURES, t * HEADS, d, t < length, FEATURES).to(tl.float32)
        k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES)
        close += tl.dot(q, tl.trans(k), input_precision=PRECISION)
    when = t - 1 if BEFORE else t
    rows = loaded(inside + at * TOKENS * SLOTS, when, i, (t < TOKENS) & (when >= 0), SLOTS)
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, t < length, VALUES).to(tl.float32)
    d_error = tl.dot(tl.trans(close * rows), d_y, input_precision=PRECISION)
    stored(missed + at * SLOTS * VALUES, i, v, i < SLOTS, d_error, VALUES)


def reads(
    sizes: Sizes, borders: Borders, queries: Tensor, pairs: Pairs, mix: Mixing, entered: Entered, measured: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the reads [batch, time, heads, values], and where asked for ||A k - v||^2 of every slot."""
    found, errors = torch.empty_like(pairs.values), None
    if measured:
        errors = mix.inside.new_empty(sizes.segments, sizes.batch, sizes.heads, sizes.slots)
    _forward[(sizes.segments * sizes.rows,)](
        queries,
        *pairs,
        borders.table,
        *mix[:3],
        *entered,
        found,
        found if errors is None else errors,
        *sizes.of_tokens(),
        measured,
        **sizes.launch,
    )
    return found, errors


def missed_by_reads(
    sizes: Sizes, borders: Borders, queries: Tensor, pairs: Pairs, mix: Mixing, d_found: Tensor
) -> Tensor:
    """Return what the errors of all slots get from the reads of their segment: P of `chunk_scan`."""
    rows = (sizes.segments, sizes.batch, sizes.heads)
    missed = mix.inside.new_empty(*rows, sizes.slots, sizes.values)
    _missed[(sizes.segments * sizes.rows,)](
        queries,
        pairs.keys,
        pairs.old_keys,
        d_found,
        borders.table,
        mix.inside,
        missed,
        *sizes.of_tokens(),
        **sizes.launch,
    )
    return missed

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
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, factor, loaded, product, rounded, stored
from atlas_ref.memory.kernels.parts import factor_near, located, mixed, near, part_of, share_of, some_of


@compiled
def _read(
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
    PAST_TILE: tl.constexpr,
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
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    t, v = tl.arange(0, TOKEN_TILE), tl.arange(0, VALUE_TILE)
    tokens, of_v, when = t < length, v < VALUES, t - 1 if BEFORE else t
    of_m = at * VALUES * FEATURES
    share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, t < TOKENS)
    y = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    for first in range(0, FEATURES, BLOCK):
        d = first + tl.arange(0, BLOCK)
        q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        q = factor(q, queries, PRECISION)
        if ANCHOR:
            y += product(q, tl.trans(loaded(anchors + of_m, v, d, of_v, FEATURES)), PRECISION)
        else:
            m, s = loaded(weights + of_m, v, d, of_v, FEATURES), loaded(momentum + of_m, v, d, of_v, FEATURES)
            y += share_m[:, None] * product(q, tl.trans(m), PRECISION)
            y += share_s[:, None] * product(q, tl.trans(s), PRECISION)
    for part in tl.static_range(1 if PAST == 0 else 2):
        i, slots, sight = part_of(part, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
        close = tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32)
        raw = -near(values, old_values, row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES, part)
        kappa = tl.zeros([i.shape[0]], tl.float32)
        for first in range(0, FEATURES, BLOCK):
            d = first + tl.arange(0, BLOCK)
            k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
            kappa += tl.sum(k * k, 1)
            k = factor_near(k, keys, old_keys, part, PRECISION)
            raw += product(k, tl.trans(loaded(anchors + of_m, v, d, of_v, FEATURES)), PRECISION)
            if not ANCHOR:
                q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
                close += product(factor(q, queries, PRECISION), tl.trans(k), PRECISION)
        if MEASURED:
            tl.store(errors + at * SLOTS + i, tl.sum(raw * raw, 1), mask=slots)
        if not ANCHOR:
            error = raw * share_of(kappa, NORMALISED)[:, None]
            rows = some_of(inside + at * TOKENS * SLOTS, when, i, (t < TOKENS) & (when >= 0), slots, SLOTS)
            y += product(rounded(close * rows, PRECISION), rounded(error, PRECISION), PRECISION)
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
    row, head, start, length, before, place = located(borders, at, SEGMENTS, BATCH, HEADS, TIME, PAST, CHUNK)
    t, v = tl.arange(0, TOKEN_TILE), tl.arange(0, VALUE_TILE)
    when = t - 1 if BEFORE else t
    d_y = loaded(d_found + place * VALUES, t * HEADS, v, t < length, VALUES).to(tl.float32)
    d_y = factor(d_y, d_found, PRECISION)
    for part in tl.static_range(1 if PAST == 0 else 2):
        i, slots, sight = part_of(part, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
        close = tl.zeros([TOKEN_TILE, i.shape[0]], tl.float32)
        for first in range(0, FEATURES, BLOCK):
            d = first + tl.arange(0, BLOCK)
            q = loaded(queries + place * FEATURES, t * HEADS, d, t < length, FEATURES).to(tl.float32)
            k = near(keys, old_keys, row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
            k = factor_near(k, keys, old_keys, part, PRECISION)
            close += product(factor(q, queries, PRECISION), tl.trans(k), PRECISION)
        rows = some_of(inside + at * TOKENS * SLOTS, when, i, (t < TOKENS) & (when >= 0), slots, SLOTS)
        d_error = product(tl.trans(rounded(close * rows, PRECISION)), d_y, PRECISION)
        stored(missed + at * SLOTS * VALUES, i, v, slots, d_error, VALUES)


def reads(
    sizes: Sizes, borders: Borders, queries: Tensor, pairs: Pairs, mix: Mixing, entered: Entered, measured: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the reads [batch, time, heads, values], and where asked for ||A k - v||^2 of every slot."""
    found, errors = torch.empty_like(pairs.values), None
    if measured:
        errors = mix.inside.new_empty(sizes.segments, sizes.batch, sizes.heads, sizes.slots)
    _read[(sizes.segments * sizes.rows,)](
        queries,
        *pairs,
        borders.table,
        *mix[:3],
        *entered,
        found,
        found if errors is None else errors,
        *sizes.of_tokens(),
        measured,
        **LAUNCH,
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
        **LAUNCH,
    )
    return missed

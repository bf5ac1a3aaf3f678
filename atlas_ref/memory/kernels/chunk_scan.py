"""M, S and the anchor from segment to segment, a program for each row, head and block of values.

    E = (K A^T - V) r,      M <- w_m M + w_s S + (E o w)^T K,      S <- u_s S + (E o u)^T K

with A the anchor, r what divides each gradient (`parts.share_of`), and w, u the last rows of the coordinates W and U
(`coordinates`); at the start of a segment rows that begin a document restart and rows in phase re-anchor
(`segments.enter`). Rows of M are independent, so values are cut into blocks. The reference is the loop of
`linear.run_linear`. Only this is sequential.

The backward pass goes through the segments in reverse with the gradients of M, S and the anchor alone, and writes down
those of what each segment leaves; `inputs` has what follows for all else, at once. P is what E gets from the reads:

    dE = P + w o (K dM^T) + u o (K dS^T),      dA += (dE r)^T K
    dM <- w_m dM + (dY o W[:, M])^T Q,         dS <- w_s dM + u_s dS + (dY o W[:, S])^T Q
"""

import torch
import triton.language as tl
from torch import Tensor

from atlas_ref.memory.kernels.held import Borders, Entered, Held, Left, Mixing, Pairs, Sizes
from atlas_ref.memory.kernels.launching import compiled, factor, loaded, product, rounded
from atlas_ref.memory.kernels.parts import factor_near, mixed, near, part_of, segment, share_of


@compiled
def _scan(
    keys: tl.tensor,
    values: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    borders: tl.tensor,
    initial: tl.tensor,
    m_before: tl.tensor,
    s_before: tl.tensor,
    a_before: tl.tensor,
    m_entered: tl.tensor,
    s_entered: tl.tensor,
    a_entered: tl.tensor,
    m_after: tl.tensor,
    s_after: tl.tensor,
    a_after: tl.tensor,
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
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    NORMALISED: tl.constexpr,
    ALWAYS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    SLOTS = PAST + TOKENS
    row = tl.program_id(0).to(tl.int64)
    batch_row, head, rows, marks = row // HEADS, row % HEADS, BATCH * HEADS, SEGMENTS * BATCH
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    v += tl.program_id(1) * VALUE_TILE
    of_d, of_v = (d < FEATURES)[None, :], v < VALUES
    matrix = v[:, None] * FEATURES + d[None, :]
    of_m = of_v[:, None] & of_d
    size = VALUES * FEATURES
    first = tl.load(initial + head * size + matrix, mask=of_m, other=0.0)
    m = tl.load(m_before + row * size + matrix, mask=of_m, other=0.0)
    s = tl.load(s_before + row * size + matrix, mask=of_m, other=0.0)
    a = tl.load(a_before + row * size + matrix, mask=of_m, other=0.0)
    for n in range(SEGMENTS):
        at, mark = n * rows + row, n * BATCH + batch_row
        start, length, before = segment(borders, mark, marks, PAST, CHUNK)
        restarts = tl.load(borders + 3 * marks + mark) != 0
        m = tl.where(restarts, first, m)
        s = tl.where(restarts, 0.0, s)
        a = tl.where(tl.load(borders + 4 * marks + mark) != 0, m, a)
        held = rounded(a, PRECISION)
        tl.store(m_entered + at * size + matrix, rounded(m, PRECISION), mask=of_m)
        tl.store(s_entered + at * size + matrix, rounded(s, PRECISION), mask=of_m)
        if not ALWAYS:
            tl.store(a_entered + at * size + matrix, held, mask=of_m)
        last = at * TOKENS + TOKENS - 1
        m = tl.load(from_m + last) * m + tl.load(from_s + last) * s
        s = tl.load(last_u_s + at) * s
        for part in tl.static_range(1 if PAST == 0 else 2):
            i, slots, sight = part_of(part, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
            k = near(keys, old_keys, batch_row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
            x = near(values, old_values, batch_row, head, start, i, sight, v, TIME, HEADS, PAST, VALUES, part)
            share = share_of(tl.sum(k * k, 1), NORMALISED)
            k = factor_near(k, keys, old_keys, part, PRECISION)
            error = (product(k, tl.trans(held), PRECISION) - x) * share[:, None]
            into_m = error * tl.load(inside + last * SLOTS + i, mask=slots, other=0.0)[:, None]
            into_s = error * tl.load(last_u + at * SLOTS + i, mask=slots, other=0.0)[:, None]
            m += product(tl.trans(rounded(into_m, PRECISION)), k, PRECISION)
            s += product(tl.trans(rounded(into_s, PRECISION)), k, PRECISION)
    tl.store(m_after + row * size + matrix, m, mask=of_m)
    tl.store(s_after + row * size + matrix, s, mask=of_m)
    tl.store(a_after + row * size + matrix, a, mask=of_m)


@compiled
def _after(place: tl.tensor, matrix: tl.tensor, of_m: tl.tensor, LOST: tl.constexpr) -> tl.tensor:
    """Return a tile of the gradient of a state after the last segment; zeros where nobody asks for that state."""
    found = tl.zeros(matrix.shape, tl.float32)
    if not LOST:
        found = tl.load(place + matrix, mask=of_m, other=0.0)
    return found


@compiled
def _scan_adjoint(
    queries: tl.tensor,
    keys: tl.tensor,
    old_keys: tl.tensor,
    d_found: tl.tensor,
    missed: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    borders: tl.tensor,
    d_m_after: tl.tensor,
    d_s_after: tl.tensor,
    d_a_after: tl.tensor,
    d_m_left: tl.tensor,
    d_s_left: tl.tensor,
    d_initial: tl.tensor,
    d_m_before: tl.tensor,
    d_s_before: tl.tensor,
    d_a_before: tl.tensor,
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
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    NORMALISED: tl.constexpr,
    ALWAYS: tl.constexpr,
    PRECISION: tl.constexpr,
    BEFORE: tl.constexpr,
    ANCHOR: tl.constexpr,
    LOST: tl.constexpr,
) -> None:
    SLOTS = PAST + TOKENS
    row = tl.program_id(0).to(tl.int64)
    batch_row, head, rows, marks = row // HEADS, row % HEADS, BATCH * HEADS, SEGMENTS * BATCH
    d, t = tl.arange(0, FEATURE_TILE), tl.arange(0, TOKEN_TILE)
    v = tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    of_d, of_v = (d < FEATURES)[None, :], v < VALUES
    matrix = v[:, None] * FEATURES + d[None, :]
    of_m = of_v[:, None] & of_d
    size = VALUES * FEATURES
    d_first = tl.zeros([VALUE_TILE, FEATURE_TILE], tl.float32)
    d_m = _after(d_m_after + row * size, matrix, of_m, LOST)
    d_s = _after(d_s_after + row * size, matrix, of_m, LOST)
    d_a = _after(d_a_after + row * size, matrix, of_m, LOST)
    for back in range(SEGMENTS):
        n = SEGMENTS - 1 - back
        at, mark = n * rows + row, n * BATCH + batch_row
        left_m, left_s = rounded(d_m, PRECISION), rounded(d_s, PRECISION)
        tl.store(d_m_left + at * size + matrix, left_m, mask=of_m)
        tl.store(d_s_left + at * size + matrix, left_s, mask=of_m)
        start, length, before = segment(borders, mark, marks, PAST, CHUNK)
        last = at * TOKENS + TOKENS - 1
        for part in tl.static_range(1 if PAST == 0 else 2):
            i, slots, sight = part_of(part, TOKEN_TILE, PAST_TILE, length, before, TOKENS, PAST)
            k = near(keys, old_keys, batch_row, head, start, i, sight, d, TIME, HEADS, PAST, FEATURES, part)
            share = share_of(tl.sum(k * k, 1), NORMALISED)
            row_w = tl.load(inside + last * SLOTS + i, mask=slots, other=0.0)
            row_u = tl.load(last_u + at * SLOTS + i, mask=slots, other=0.0)
            k = factor_near(k, keys, old_keys, part, PRECISION)
            d_error = row_w[:, None] * product(k, tl.trans(left_m), PRECISION)
            d_error += row_u[:, None] * product(k, tl.trans(left_s), PRECISION)
            if not ANCHOR:
                d_error += loaded(missed + at * SLOTS * VALUES, i, v, slots, VALUES)
            d_a += product(tl.trans(rounded(d_error * share[:, None], PRECISION)), k, PRECISION)
        place = (batch_row * TIME + start) * HEADS + head
        q = loaded(queries + place * FEATURES, t * HEADS, d, t < length, FEATURES).to(tl.float32)
        q = factor(q, queries, PRECISION)
        d_y = loaded(d_found + place * VALUES, t * HEADS, v, t < length, VALUES).to(tl.float32)
        w_m, w_s, u_s = tl.load(from_m + last), tl.load(from_s + last), tl.load(last_u_s + at)
        d_s = w_s * d_m + u_s * d_s
        d_m = w_m * d_m
        if ANCHOR:
            d_a += product(tl.trans(factor(d_y, d_found, PRECISION)), q, PRECISION)
        else:
            when = t - 1 if BEFORE else t
            share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, t < TOKENS)
            d_s += product(tl.trans(rounded(d_y * share_s[:, None], PRECISION)), q, PRECISION)
            d_m += product(tl.trans(rounded(d_y * share_m[:, None], PRECISION)), q, PRECISION)
        opened = tl.load(borders + 4 * marks + mark) != 0
        d_m = tl.where(opened, d_m + d_a, d_m)
        d_a = tl.where(opened, 0.0, d_a)
        restarts = tl.load(borders + 3 * marks + mark) != 0
        d_first = tl.where(restarts, d_first + d_m, d_first)
        d_m = tl.where(restarts, 0.0, d_m)
        d_s = tl.where(restarts, 0.0, d_s)
    tl.store(d_initial + row * size + matrix, d_first, mask=of_m)
    tl.store(d_m_before + row * size + matrix, d_m, mask=of_m)
    tl.store(d_s_before + row * size + matrix, d_s, mask=of_m)
    if not ALWAYS:
        tl.store(d_a_before + row * size + matrix, d_a, mask=of_m)


def chunk_scan(sizes: Sizes, borders: Borders, pairs: Pairs, mix: Mixing, before: Held) -> tuple[Entered, Held]:
    """Return what every segment enters with and what the last one leaves (derived)."""
    new, shape = before.weights.new_empty, before.weights.shape
    weights, momentum = new(2, sizes.segments, *shape)
    entered = Entered(weights, momentum, weights if sizes.always else torch.empty_like(weights))
    after = Held(*(new(shape) for _ in before))
    _scan[(sizes.rows, sizes.blocks)](
        *pairs, *mix, *borders, *before, *entered, *after, *sizes.of_scan(), **sizes.scan_launch
    )
    return entered, after


def chunk_scan_adjoint(
    sizes: Sizes,
    borders: Borders,
    queries: Tensor,
    pairs: Pairs,
    mix: Mixing,
    missed: Tensor,
    d_found: Tensor,
    after: Held | None,
) -> tuple[Left, Tensor, Held]:
    """Return the gradients of what every segment leaves, of M_0 in each row, and of what the first one enters with.

    `missed` is P of the module docstring, `after` what is asked of the state after the call; None: nothing is.
    """
    shape = (sizes.batch, *borders.initial.shape)
    new = mix.inside.new_empty
    weights, momentum = new(2, sizes.segments, *shape)
    d_initial, *before = new(4, *shape)
    given = (before[0],) * 3 if after is None else after
    _scan_adjoint[(sizes.rows, sizes.blocks)](
        queries,
        pairs.keys,
        pairs.old_keys,
        d_found,
        missed,
        *mix,
        borders.table,
        *given,
        weights,
        momentum,
        d_initial,
        *before,
        *sizes.of_scan(),
        sizes.before,
        sizes.anchor,
        after is None,
        **sizes.scan_launch,
    )
    return Left(weights, momentum), d_initial, Held._make(before)

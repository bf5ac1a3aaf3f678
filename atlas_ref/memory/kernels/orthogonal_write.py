"""O_i = NS(S_i) of the tokens that write, and the adjoint of that (`orthogonal`).

    E = (A K^T - V^T) r,      S_i = (E o U_i) K + U[i, S] S,      t_i = ||S_i|| / (||S_i|| + offset)
    X_i = S_i / ||S_i||,      O_i = t_i X_i after the steps of `iteration`

`write` holds E for some tokens that write, one after the other; `write_adjoint` is a program for each. They leave X_i
with t_i, and the cotangent of S_i with a factor of its own: both fit into half precision.
"""

import triton.language as tl

from atlas_ref.memory.kernels.iteration import (
    between,
    by_largest,
    by_rows,
    derivative,
    narrow,
    polynomial,
    rows_of,
    step_of,
    times,
)
from atlas_ref.memory.kernels.launching import compiled, loaded, stored

SMALL = tl.constexpr(64.0)
"""What the largest entry of a cotangent is over, so that no product of it leaves half precision."""


@compiled
def errors(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    anchor: tl.tensor,
    row: tl.tensor,
    i: tl.tensor,
    d: tl.tensor,
    z: tl.tensor,
    v: tl.tensor,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return the keys of a segment by rows, what they are over, and E of the values `v`, [values, slots]."""
    slots, of_v = i < SLOTS, v < VALUES
    k, k_tail, of_k = rows_of(keys + row * SLOTS * FEATURES, i, slots, d, z, FEATURES, TAIL, HALF)
    a, a_tail, of_a = rows_of(anchor + row * VALUES * FEATURES, v, of_v, d, z, FEATURES, TAIL, HALF)
    there = slots[None, :] & of_v[:, None]
    x = tl.load(values + row * SLOTS * VALUES + i[None, :] * VALUES + v[:, None], mask=there, other=0.0)
    raw = of_a[:, None] * of_k[None, :] * between(a, a_tail, k, k_tail, TAIL, PRECISION) - x
    return k, k_tail, of_k, raw * tl.load(shares + row * SLOTS + i, mask=slots, other=0.0)[None, :]


@compiled
def write(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    table: tl.tensor,
    updates: tl.tensor,
    scales: tl.tensor,
    wholes: tl.tensor,
    FIRST: tl.tensor,
    OFFSET: tl.tensor,
    STEPS: tl.constexpr,
    WRITERS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    TAIL: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    GROUP: tl.constexpr,
    HALF: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store X_i after its steps, t_i and ||S_i|| + offset of GROUP tokens that write."""
    own = tl.program_id(0).to(tl.int64)
    row, first = own + FIRST, tl.program_id(1) * GROUP
    i, v = tl.arange(0, SLOT_TILE), tl.arange(0, VALUE_TILE)
    d, z = tl.arange(0, FEATURE_TILE), FEATURE_TILE + tl.arange(0, TAIL or FEATURE_TILE)
    of_v = v < VALUES
    k, k_tail, of_k, error = errors(
        keys, values, shares, anchor, row, i, d, z, v, SLOTS, FEATURES, VALUES, TAIL, HALF, PRECISION
    )
    error, of_error = by_rows(error, HALF)
    for writer in range(first, tl.minimum(first + GROUP, WRITERS)):
        at, place = row * WRITERS + writer, own * WRITERS + writer
        u, of_u = by_largest(of_k * tl.load(writing + at * SLOTS + i, mask=i < SLOTS, other=0.0), HALF)
        left, of_left = error * u[None, :], of_error * of_u
        kept = tl.load(writing_s + at)
        s = of_left[:, None] * times(left, k, PRECISION)
        s += kept * loaded(momentum + row * VALUES * FEATURES, v, d, of_v, FEATURES)
        most = tl.max(tl.abs(s))
        s_tail = s
        if TAIL:
            s_tail = of_left[:, None] * times(left, k_tail, PRECISION)
            s_tail += kept * loaded(momentum + row * VALUES * FEATURES, v, z, of_v, FEATURES)
            most = tl.maximum(most, tl.max(tl.abs(s_tail)))
        # Squared is what is near one: 1e20 and 1e-20 are valid float32, and their squares are not.
        most = tl.maximum(most, 1e-30)
        square = tl.sum((s / most) * (s / most))
        if TAIL:
            square += tl.sum((s_tail / most) * (s_tail / most))
        norm = tl.sqrt(square)
        over = tl.where(norm > 0.0, 1.0 / tl.where(norm > 0.0, norm, 1.0), 0.0) / most
        x, x_tail = s * over, s_tail * over
        whole = norm + OFFSET / most
        t = norm / whole
        for n in range(STEPS):
            m, b, c, f = step_of(table, n)
            h, h_tail = narrow(x, HALF), narrow(x_tail, HALF)
            gram = t * t * between(h, h_tail, h, h_tail, TAIL, PRECISION)
            p = narrow(polynomial(narrow(gram, HALF), gram, b, c, HALF, PRECISION), HALF)
            x = tl.dot(p, h, m * x, input_precision=PRECISION)
            if TAIL:
                x_tail = tl.dot(p, h_tail, m * x_tail, input_precision=PRECISION)
            t = t * f
        stored(updates + place * VALUES * FEATURES, v, d, of_v, x, FEATURES)
        if TAIL:
            stored(updates + place * VALUES * FEATURES, v, z, of_v, x_tail, FEATURES)
        tl.store(scales + place, t)
        tl.store(wholes + place, whole * most)


@compiled
def _arriving(
    queries: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    d_reads: tl.tensor,
    d_m_behind: tl.tensor,
    row: tl.tensor,
    number: tl.tensor,
    t: tl.tensor,
    d: tl.tensor,
    z: tl.tensor,
    v: tl.tensor,
    TOKENS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return the cotangent of O_i, from the reads and from M behind the segment, its tail and what both are over."""
    tokens, of_v = t < TOKENS, v < VALUES
    q, q_tail, of_q = rows_of(queries + row * TOKENS * FEATURES, t, tokens, d, z, FEATURES, TAIL, HALF)
    there = tokens[None, :] & of_v[:, None]
    d_y = tl.load(d_reads + row * TOKENS * VALUES + t[None, :] * VALUES + v[:, None], mask=there, other=0.0)
    left, of_left = by_rows(d_y * (of_q * tl.load(mix + number * TOKENS + t, mask=tokens, other=0.0))[None, :], HALF)
    share = tl.load(w + number)
    whole = of_left[:, None] * times(left, q, PRECISION) + share * loaded(d_m_behind, v, d, of_v, FEATURES)
    most = tl.max(tl.abs(whole))
    tail = whole
    if TAIL:
        tail = of_left[:, None] * times(left, q_tail, PRECISION) + share * loaded(d_m_behind, v, z, of_v, FEATURES)
        most = tl.maximum(most, tl.max(tl.abs(tail)))
    factor = tl.where(most > 0.0, most, 1.0) * SMALL
    return whole / factor, tail / factor, factor


@compiled
def write_adjoint(
    starts: tl.tensor,
    scales: tl.tensor,
    wholes: tl.tensor,
    queries: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    table: tl.tensor,
    d_reads: tl.tensor,
    d_m_after: tl.tensor,
    updates: tl.tensor,
    ends: tl.tensor,
    d_each: tl.tensor,
    factors: tl.tensor,
    FIRST: tl.tensor,
    SHIFT: tl.tensor,
    ROWS: tl.tensor,
    STEPS: tl.constexpr,
    WRITERS: tl.constexpr,
    TOKENS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    TAIL: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    HALF: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store X_i after its steps again, with its t, and the cotangent of S_i, with its factor, of one token that writes.

    The segment begins at row FIRST of all, and at row SHIFT of those whose X_i are at hand.
    """
    own, writer = tl.program_id(0).to(tl.int64) // WRITERS, tl.program_id(0) % WRITERS
    row, place = own + FIRST, (own + SHIFT) * WRITERS + writer
    t, v = tl.arange(0, TOKEN_TILE), tl.arange(0, VALUE_TILE)
    d, z = tl.arange(0, FEATURE_TILE), FEATURE_TILE + tl.arange(0, TAIL or FEATURE_TILE)
    of_v = v < VALUES
    number = row * (WRITERS + 1) + writer
    behind = d_m_after + (row + ROWS) * VALUES * FEATURES
    y, y_tail, factor = _arriving(
        queries, w, mix, d_reads, behind, row, number, t, d, z, v, TOKENS, FEATURES, VALUES, TAIL, HALF, PRECISION
    )
    x = loaded(starts + place * VALUES * FEATURES, v, d, of_v, FEATURES)
    x_tail = x
    if TAIL:
        x_tail = loaded(starts + place * VALUES * FEATURES, v, z, of_v, FEATURES)
    begun = tl.load(scales + place)
    scale = begun
    for n in range(STEPS):
        m, b, c, f = step_of(table, n)
        h, h_tail, e, e_tail = narrow(x, HALF), narrow(x_tail, HALF), narrow(y, HALF), narrow(y_tail, HALF)
        gram = scale * scale * between(h, h_tail, h, h_tail, TAIL, PRECISION)
        g = narrow(gram, HALF)
        p = polynomial(g, gram, b, c, HALF, PRECISION)
        # One t in dA and one in dP, so that neither is large.
        d_gram = tl.dot(h, tl.trans(e), between(e, e_tail, h, h_tail, TAIL, PRECISION), input_precision=PRECISION)
        if TAIL:
            d_gram = tl.dot(h_tail, tl.trans(e_tail), d_gram, input_precision=PRECISION)
        d_p = narrow(scale * derivative(g, scale * d_gram, b, c, HALF, PRECISION), HALF)
        p = narrow(p, HALF)
        x = tl.dot(p, h, m * x, input_precision=PRECISION)
        y = tl.dot(d_p, h, tl.dot(p, e, m * y, input_precision=PRECISION), input_precision=PRECISION)
        if TAIL:
            x_tail = tl.dot(p, h_tail, m * x_tail, input_precision=PRECISION)
            y_tail = tl.dot(p, e_tail, m * y_tail, input_precision=PRECISION)
            y_tail = tl.dot(d_p, h_tail, y_tail, input_precision=PRECISION)
        scale, factor = scale * f, factor * f
    tl.store(ends + place, scale)
    stored(updates + place * VALUES * FEATURES, v, d, of_v, x, FEATURES)
    # The start: what is along S changes its norm too; a norm of zero has a gradient of zero.
    x = loaded(starts + place * VALUES * FEATURES, v, d, of_v, FEATURES)
    along = tl.sum(x * y)
    if TAIL:
        stored(updates + place * VALUES * FEATURES, v, z, of_v, x_tail, FEATURES)
        x_tail = loaded(starts + place * VALUES * FEATURES, v, z, of_v, FEATURES)
        along += tl.sum(x_tail * y_tail)
        y_tail -= x_tail * (along * begun)
        stored(d_each + place * VALUES * FEATURES, v, z, of_v, y_tail, FEATURES)
    stored(d_each + place * VALUES * FEATURES, v, d, of_v, y - x * (along * begun), FEATURES)
    tl.store(factors + place, factor / tl.load(wholes + place))

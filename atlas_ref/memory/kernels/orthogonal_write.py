"""O_i = NS(S_i) of every token that writes, a program each, and the adjoint of that (`orthogonal`).

A matrix stays on the chip for all steps of its iteration, X <- a X + (b A + c A^2) X with A = X X^T, whose reference is
`functional.newton_schulz`; the adjoint forms the steps again and goes back through them.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded


@compiled
def _step(x: tl.tensor, a: tl.tensor, b: tl.tensor, c: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return a X + (b A + c A^2) X with A = X X^T."""
    gram = tl.dot(x, tl.trans(x), input_precision=PRECISION)
    polynomial = b * gram + c * tl.dot(gram, gram, input_precision=PRECISION)
    return a * x + tl.dot(polynomial, x, input_precision=PRECISION)


@compiled
def _step_adjoint(
    x: tl.tensor, d_next: tl.tensor, a: tl.tensor, b: tl.tensor, c: tl.tensor, PRECISION: tl.constexpr
) -> tl.tensor:
    """Return the cotangent of X from that of the next one; A and its polynomial are symmetric."""
    gram = tl.dot(x, tl.trans(x), input_precision=PRECISION)
    polynomial = b * gram + c * tl.dot(gram, gram, input_precision=PRECISION)
    d_polynomial = tl.dot(d_next, tl.trans(x), input_precision=PRECISION)
    d_square = tl.dot(d_polynomial, gram, input_precision=PRECISION) + tl.dot(
        gram, d_polynomial, input_precision=PRECISION
    )
    d_gram = b * d_polynomial + c * d_square
    return (
        a * d_next
        + tl.dot(polynomial, d_next, input_precision=PRECISION)
        + tl.dot(d_gram + tl.trans(d_gram), x, input_precision=PRECISION)
    )


@compiled
def errors(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    anchor: tl.tensor,
    row: tl.tensor,
    i: tl.tensor,
    d: tl.tensor,
    v: tl.tensor,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return the keys of a segment, K A^T - V, and what divides it, of the values `v`."""
    slots, of_d, of_v = i < SLOTS, (d < FEATURES)[None, :], v < VALUES
    place = row * SLOTS + i
    k = loaded(keys, place, d, slots, FEATURES)
    x = loaded(values, place, v, slots, VALUES)
    matrix = (row * VALUES + v)[:, None] * FEATURES + d[None, :]
    a = tl.load(anchor + matrix, mask=of_v[:, None] & of_d, other=0.0)
    raw = tl.dot(k, tl.trans(a), input_precision=PRECISION) - x
    return k, raw, tl.load(shares + place, mask=slots, other=0.0)


@compiled
def write(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    coefficients: tl.tensor,
    updates: tl.tensor,
    OFFSET: tl.tensor,
    STEPS: tl.constexpr,
    WRITERS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Store O_i of one writing token (module docstring)."""
    at = tl.program_id(0).to(tl.int64)
    row = at // WRITERS
    i, d, v = tl.arange(0, SLOT_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    of_m = (v < VALUES)[:, None] & (d < FEATURES)[None, :]
    matrix = v[:, None] * FEATURES + d[None, :]
    k, raw, share = errors(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    u = tl.load(writing + at * SLOTS + i, mask=i < SLOTS, other=0.0)
    before = tl.load(momentum + row * VALUES * FEATURES + matrix, mask=of_m, other=0.0)
    s = tl.load(writing_s + at) * before
    s += tl.dot(tl.trans(raw * (share * u)[:, None]), k, input_precision=PRECISION)
    # Entries above one are not squared: 1e20 is a valid float32, and its square is not.
    scale = tl.maximum(tl.max(tl.abs(s)), 1.0)
    s = s / scale
    x = s / (tl.sqrt(tl.sum(s * s)) + OFFSET / scale)
    for step in range(STEPS):
        a, b, c = (
            tl.load(coefficients + 3 * step),
            tl.load(coefficients + 3 * step + 1),
            tl.load(coefficients + 3 * step + 2),
        )
        x = _step(x, a, b, c, PRECISION)
    tl.store(updates + at * VALUES * FEATURES + matrix, x, mask=of_m)


@compiled
def write_adjoint(
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    queries: tl.tensor,
    momentum: tl.tensor,
    anchor: tl.tensor,
    writing: tl.tensor,
    writing_s: tl.tensor,
    w: tl.tensor,
    mix: tl.tensor,
    coefficients: tl.tensor,
    d_reads: tl.tensor,
    d_m_after: tl.tensor,
    scratch: tl.tensor,
    updates: tl.tensor,
    d_each: tl.tensor,
    d_writing: tl.tensor,
    d_writing_s: tl.tensor,
    d_w: tl.tensor,
    d_mix: tl.tensor,
    OFFSET: tl.tensor,
    STEPS: tl.constexpr,
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
    """Store O_i, the cotangent of S_i and those of its coordinates; `scratch` holds the iterates."""
    at = tl.program_id(0).to(tl.int64)
    row, writer = at // WRITERS, at % WRITERS
    t, i = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE)
    d, v = tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    tokens, of_v, of_d = t < TOKENS, v < VALUES, (d < FEATURES)[None, :]
    of_m = of_v[:, None] & of_d
    matrix = v[:, None] * FEATURES + d[None, :]
    size = VALUES * FEATURES
    k, raw, share = errors(keys, values, shares, anchor, row, i, d, v, SLOTS, FEATURES, VALUES, PRECISION)
    u = tl.load(writing + at * SLOTS + i, mask=i < SLOTS, other=0.0)
    before = tl.load(momentum + row * size + matrix, mask=of_m, other=0.0)
    s = tl.load(writing_s + at) * before
    s += tl.dot(tl.trans(raw * (share * u)[:, None]), k, input_precision=PRECISION)
    scale = tl.maximum(tl.max(tl.abs(s)), 1.0)
    s = s / scale
    norm = tl.sqrt(tl.sum(s * s))
    x = s / (norm + OFFSET / scale)
    for step in range(STEPS):
        tl.store(scratch + (at * STEPS + step) * size + matrix, x, mask=of_m)
        a, b, c = (
            tl.load(coefficients + 3 * step),
            tl.load(coefficients + 3 * step + 1),
            tl.load(coefficients + 3 * step + 2),
        )
        x = _step(x, a, b, c, PRECISION)
    tl.store(updates + at * size + matrix, x, mask=of_m)
    q = loaded(queries, row * TOKENS + t, d, tokens, FEATURES)
    d_y = loaded(d_reads, row * TOKENS + t, v, tokens, VALUES)
    d_m = tl.load(d_m_after + row * size + matrix, mask=of_m, other=0.0)
    place = (row * TOKENS + t) * (WRITERS + 1) + writer
    seen = tl.dot(q, tl.trans(x), input_precision=PRECISION)
    tl.store(d_mix + place, tl.sum(d_y * seen, 1), mask=tokens)
    tl.store(d_w + row * (WRITERS + 1) + writer, tl.sum(x * d_m))
    shown = d_y * tl.load(mix + place, mask=tokens, other=0.0)[:, None]
    d_x = tl.dot(tl.trans(shown), q, input_precision=PRECISION)
    d_x += tl.load(w + row * (WRITERS + 1) + writer) * d_m
    tl.debug_barrier()
    for back in range(STEPS):
        step = STEPS - 1 - back
        x = tl.load(scratch + (at * STEPS + step) * size + matrix, mask=of_m, other=0.0)
        a, b, c = (
            tl.load(coefficients + 3 * step),
            tl.load(coefficients + 3 * step + 1),
            tl.load(coefficients + 3 * step + 2),
        )
        d_x = _step_adjoint(x, d_x, a, b, c, PRECISION)
    # The start; a norm of zero has a gradient of zero.
    whole = norm + OFFSET / scale
    along = tl.where(norm > 0.0, tl.sum(d_x * s) / (tl.where(norm > 0.0, norm, 1.0) * whole * whole), 0.0)
    d_s = (d_x / whole - s * along) / scale
    tl.store(d_each + at * size + matrix, d_s, mask=of_m)
    via = tl.dot(k, tl.trans(d_s), input_precision=PRECISION)
    tl.store(d_writing + at * SLOTS + i, tl.sum(raw * via, 1) * share, mask=i < SLOTS)
    tl.store(d_writing_s + at, tl.sum(d_s * before))

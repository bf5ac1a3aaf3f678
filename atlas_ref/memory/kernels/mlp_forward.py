"""The MLP memory P(x) = I x + W1 gelu(W2 x) from segment to segment, a program for each row and head.

With what a segment knows at its anchor A (`mlp_parts`), e and h, and r what divides each gradient, the factors of the
gradients are e r and h of W1 and l = (A1^T e r) o gelu'(z) and k of W2 (`factors`). Both matrices are written by the
coordinates U and W of a matrix (`coordinates`; w, u are their last rows), and every token reads with its own:

    a_t = gelu(W[t, M] M2 q + W[t, S] S2 q + sum_i W[t, i] (k_i . q_t) l_i)
    y_t = I q + W[t, M] M1 a + W[t, S] S1 a + sum_i W[t, i] (h_i . a_t) e_i r_i
    M1 <- w_m M1 + w_s S1 + (e r o w)^T h,      M2 <- w_m M2 + w_s S2 + (l o w)^T k,      S alike with u

The reference is `linear.run_linear`. M and S go through memory from segment to segment, where the backward pass
(`mlp_backward`) finds them: slot n + 1 of M is what segment n enters with, slot 0 the anchor before the call.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, stored
from atlas_ref.memory.kernels.mlp_parts import at_anchor, divisor, gelu, residual
from atlas_ref.memory.kernels.parts import mixed, segment, share_of, some_of


@compiled
def _begin(
    to_m: tl.tensor,
    to_s: tl.tensor,
    first: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    there: tl.tensor,
    WIDTH: tl.constexpr,
) -> None:
    """Begin with M_0 and nothing in S."""
    start = loaded(first, row, column, there, WIDTH)
    stored(to_m, row, column, there, start, WIDTH)
    stored(to_s, row, column, there, start * 0.0, WIDTH)


@compiled
def mlp_forward(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    borders: tl.tensor,
    opened: tl.tensor,
    first_outer: tl.tensor,
    first_inner: tl.tensor,
    m_outer: tl.tensor,
    m_inner: tl.tensor,
    s_outer: tl.tensor,
    s_inner: tl.tensor,
    found: tl.tensor,
    near: tl.tensor,
    errors: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    TOKENS: tl.tensor,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    HIDDEN: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    BEFORE: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
    MEASURED: tl.constexpr,
) -> None:
    """Run a memory over its segments, and leave M and S at every border (module docstring)."""
    row = tl.program_id(0).to(tl.int64)
    batch_row, head, rows, marks = row // HEADS, row % HEADS, BATCH * HEADS, SEGMENTS * BATCH
    t, d, v = tl.arange(0, TOKEN_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    size, when = VALUES * HIDDEN, t - 1 if BEFORE else t
    inner_size = HIDDEN * FEATURES
    for n in range(SEGMENTS):
        at, mark = n * rows + row, n * BATCH + batch_row
        start, length, _ = segment(borders, mark, marks, 0, 0)
        outer, outer_s, inner = m_outer + (at + rows) * size, s_outer + at * size, m_inner + (at + rows) * inner_size
        inner_s = s_inner + at * inner_size
        if tl.load(borders + 3 * marks + mark) != 0:
            for first in range(0, HIDDEN, BLOCK):
                unit = first + tl.arange(0, BLOCK)
                _begin(outer, outer_s, first_outer + head * size, v, unit, v < VALUES, HIDDEN)
                _begin(inner, inner_s, first_inner + head * inner_size, unit, d, unit < HIDDEN, FEATURES)
            tl.debug_barrier()
        anchor = (tl.load(opened + mark) + 1) * rows + row
        a_outer, a_inner = m_outer + anchor * size, m_inner + anchor * inner_size
        tokens, place = t < length, (batch_row * TIME + start) * HEADS + head
        k = loaded(keys + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        e = residual(keys + place * FEATURES, t * HEADS, v, tokens, FEATURES, VALUES)
        e -= loaded(values + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
        e, squares, slopes = at_anchor(
            a_outer, a_inner, k, e, d, v, FEATURES, VALUES, HIDDEN, BLOCK, NORMALISED, PRECISION
        )
        if MEASURED:
            tl.store(errors + at * TOKENS + t, tl.sum(e * e, 1), mask=t < TOKENS)
        e *= share_of(divisor(k, e, squares, slopes)[0], NORMALISED)[:, None]
        rows_w = some_of(inside + at * TOKENS * TOKENS, when, t, (t < TOKENS) & (when >= 0), t < TOKENS, TOKENS)
        share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, t < TOKENS)
        last = at * TOKENS + TOKENS - 1
        row_w = tl.load(inside + last * TOKENS + t, mask=t < TOKENS, other=0.0)
        row_u = tl.load(last_u + at * TOKENS + t, mask=t < TOKENS, other=0.0)
        w_m, w_s, u_s = tl.load(from_m + last), tl.load(from_s + last), tl.load(last_u_s + at)
        close = tl.dot(q, tl.trans(k), input_precision=PRECISION) * rows_w
        y = residual(queries + place * FEATURES, t * HEADS, v, tokens, FEATURES, VALUES)
        alike = tl.zeros([TOKEN_TILE, TOKEN_TILE], tl.float32)
        for first in range(0, HIDDEN, BLOCK):
            unit = first + tl.arange(0, BLOCK)
            of_units = unit < HIDDEN
            # Read again and again, so that the chip need not hold all of a segment at once.
            k = loaded(keys + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            w2 = loaded(a_inner, unit, d, of_units, FEATURES)
            h, slope = gelu(tl.dot(k, tl.trans(w2), input_precision=PRECISION))
            w1 = loaded(a_outer, v, unit, v < VALUES, HIDDEN)
            left = tl.dot(e, w1, input_precision=PRECISION) * slope
            q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            m, s = loaded(inner, unit, d, of_units, FEATURES), loaded(inner_s, unit, d, of_units, FEATURES)
            asked = tl.dot(close, left, input_precision=PRECISION)
            asked += share_m[:, None] * tl.dot(q, tl.trans(m), input_precision=PRECISION)
            asked += share_s[:, None] * tl.dot(q, tl.trans(s), input_precision=PRECISION)
            m = w_m * m + w_s * s + tl.dot(tl.trans(left * row_w[:, None]), k, input_precision=PRECISION)
            s = u_s * s + tl.dot(tl.trans(left * row_u[:, None]), k, input_precision=PRECISION)
            stored(inner + rows * inner_size, unit, d, of_units, m, FEATURES)
            stored(inner_s + rows * inner_size, unit, d, of_units, s, FEATURES)
            a, slope = gelu(asked)
            alike += tl.dot(a, tl.trans(h), input_precision=PRECISION)
            m, s = loaded(outer, v, unit, v < VALUES, HIDDEN), loaded(outer_s, v, unit, v < VALUES, HIDDEN)
            y += share_m[:, None] * tl.dot(a, tl.trans(m), input_precision=PRECISION)
            y += share_s[:, None] * tl.dot(a, tl.trans(s), input_precision=PRECISION)
            m = w_m * m + w_s * s + tl.dot(tl.trans(e), h * row_w[:, None], input_precision=PRECISION)
            s = u_s * s + tl.dot(tl.trans(e), h * row_u[:, None], input_precision=PRECISION)
            stored(outer + rows * size, v, unit, v < VALUES, m, HIDDEN)
            stored(outer_s + rows * size, v, unit, v < VALUES, s, HIDDEN)
        y += tl.dot(alike * rows_w, e, input_precision=PRECISION)
        stored(near + at * TOKENS * TOKENS, t, t, t < TOKENS, alike, TOKENS)
        stored(found + place * VALUES, t * HEADS, v, tokens, y, VALUES)
        # What other threads have written is read from here on.
        tl.debug_barrier()

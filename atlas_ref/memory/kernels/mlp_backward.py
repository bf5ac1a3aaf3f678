"""The adjoint of `mlp_forward`: from the last segment to the first, a program for each row and head.

All of a segment is made again from M, S and the anchor that it entered with. For each block of hidden units first the
reads and the writes go back, with dM and dS of what the segment left (primed; C = (Q K^T) o W, P = A H^T, X = e r),

    dA = W[:, M] (dY M1) + W[:, S] (dY S1) + ((dY X^T) o W) H,        dZ_q = dA o gelu'(Z_q)
    dL = C^T dZ_q + w o (K dM2'^T) + u o (K dS2'^T),                  dH = (P's part)^T A + (X o w) dM1' + (X o u) dS1'
    dX = (P o W)^T dY + w o (H dM1'^T) + u o (H dS1'^T) + (dL o gelu') A1^T

and, when dX is whole, what was known at the anchor: e, r and kappa, and through them z, keys, values and the anchor.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, stored
from atlas_ref.memory.kernels.mlp_anchor import anchor_back
from atlas_ref.memory.kernels.mlp_parts import SLOPE, at_anchor, divisor, features_of, gelu, residual
from atlas_ref.memory.kernels.parts import mixed, segment, share_of, some_of


@compiled
def mlp_backward(
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
    m_outer: tl.tensor,
    m_inner: tl.tensor,
    s_outer: tl.tensor,
    s_inner: tl.tensor,
    alike: tl.tensor,
    d_found: tl.tensor,
    d_m_outer: tl.tensor,
    d_m_inner: tl.tensor,
    d_s_outer: tl.tensor,
    d_s_inner: tl.tensor,
    d_a_outer: tl.tensor,
    d_a_inner: tl.tensor,
    d_first_outer: tl.tensor,
    d_first_inner: tl.tensor,
    d_units: tl.tensor,
    d_slopes: tl.tensor,
    kept: tl.tensor,
    d_queries: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    d_inside: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
    d_last_w: tl.tensor,
    d_last_u: tl.tensor,
    d_last_u_s: tl.tensor,
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
) -> None:
    """Go back over the segments of a memory (module docstring)."""
    row = tl.program_id(0).to(tl.int64)
    batch_row, head, rows, marks = row // HEADS, row % HEADS, BATCH * HEADS, SEGMENTS * BATCH
    t, d, v = tl.arange(0, TOKEN_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    when, held, of_v = t - 1 if BEFORE else t, t < TOKENS, v < VALUES
    size, inner_size = VALUES * HIDDEN, HIDDEN * FEATURES
    d_outer, d_outer_s, d_outer_a = d_m_outer + row * size, d_s_outer + row * size, d_a_outer + row * size
    d_inner, d_inner_s = d_m_inner + row * inner_size, d_s_inner + row * inner_size
    d_inner_a, d_first_w2 = d_a_inner + row * inner_size, d_first_inner + row * inner_size
    d_first_w1, own = d_first_outer + row * size, row * TOKENS * HIDDEN
    known = held & (when >= 0)
    of_x = kept + row * TOKENS * (VALUES + 2 * TOKENS)
    of_close, of_alike = of_x + TOKENS * VALUES, of_x + TOKENS * (VALUES + TOKENS)
    for back in range(SEGMENTS):
        n = SEGMENTS - 1 - back
        at, mark = n * rows + row, n * BATCH + batch_row
        start, length, _ = segment(borders, mark, marks, 0, 0)
        outer, outer_s, inner = m_outer + (at + rows) * size, s_outer + at * size, m_inner + (at + rows) * inner_size
        inner_s, from_segment = s_inner + at * inner_size, tl.load(opened + mark)
        anchor = (from_segment + 1) * rows + row
        a_outer, a_inner = m_outer + anchor * size, m_inner + anchor * inner_size
        tokens, place = t < length, (batch_row * TIME + start) * HEADS + head
        k = loaded(keys + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
        e = residual(keys + place * FEATURES, t * HEADS, v, tokens, FEATURES, VALUES)
        e -= loaded(values + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
        e, squares, slopes = at_anchor(
            a_outer, a_inner, k, e, d, v, FEATURES, VALUES, HIDDEN, BLOCK, NORMALISED, PRECISION
        )
        kappa, long, missed = divisor(k, e, squares, slopes)
        share = share_of(kappa, NORMALISED)
        x = e * share[:, None]
        rows_w = some_of(inside + at * TOKENS * TOKENS, when, t, known, held, TOKENS)
        share_s, share_m = mixed(from_s + at * TOKENS, from_m + at * TOKENS, when, held)
        last = at * TOKENS + TOKENS - 1
        row_w = tl.load(inside + last * TOKENS + t, mask=held, other=0.0)
        row_u = tl.load(last_u + at * TOKENS + t, mask=held, other=0.0)
        w_m, w_s, u_s = tl.load(from_m + last), tl.load(from_s + last), tl.load(last_u_s + at)
        # Set aside, for the same reason as what is read again below.
        stored(of_x, t, v, held, x, VALUES)
        stored(of_close, t, t, held, tl.dot(q, tl.trans(k), input_precision=PRECISION) * rows_w, TOKENS)
        stored(of_alike, t, t, held, tl.dot(d_y, tl.trans(x), input_precision=PRECISION) * rows_w, TOKENS)
        tl.debug_barrier()
        d_close = tl.zeros([TOKEN_TILE, TOKEN_TILE], tl.float32)
        near = loaded(alike + at * TOKENS * TOKENS, t, t, held, TOKENS)
        d_x = tl.dot(tl.trans(near * rows_w), d_y, input_precision=PRECISION)
        d_q = tl.zeros([TOKEN_TILE, FEATURE_TILE], tl.float32)
        d_k = tl.zeros([TOKEN_TILE, FEATURE_TILE], tl.float32)
        to_m, to_s = tl.zeros([TOKEN_TILE], tl.float32), tl.zeros([TOKEN_TILE], tl.float32)
        to_w, to_u = tl.zeros([TOKEN_TILE], tl.float32), tl.zeros([TOKEN_TILE], tl.float32)
        d_w_m, d_w_s, d_u_s = 0.0, 0.0, 0.0
        for first in range(0, HIDDEN, BLOCK):
            unit = first + tl.arange(0, BLOCK)
            of_units = unit < HIDDEN
            # Read again and again, so that the chip need not hold all of a segment at once.
            k = loaded(keys + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            w2 = loaded(a_inner, unit, d, of_units, FEATURES)
            h, slope = gelu(tl.dot(k, tl.trans(w2), input_precision=PRECISION))
            x = loaded(of_x, t, v, held, VALUES)
            left = tl.dot(x, loaded(a_outer, v, unit, of_v, HIDDEN), input_precision=PRECISION) * slope
            # Reads of W1, and what it was written.
            q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            m, s = loaded(inner, unit, d, of_units, FEATURES), loaded(inner_s, unit, d, of_units, FEATURES)
            asked = share_m[:, None] * tl.dot(q, tl.trans(m), input_precision=PRECISION)
            asked += share_s[:, None] * tl.dot(q, tl.trans(s), input_precision=PRECISION)
            asked += tl.dot(loaded(of_close, t, t, held, TOKENS), left, input_precision=PRECISION)
            a, a_slope = gelu(asked)
            d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
            m, s = loaded(outer, v, unit, of_v, HIDDEN), loaded(outer_s, v, unit, of_v, HIDDEN)
            d_m, d_s = loaded(d_outer, v, unit, of_v, HIDDEN), loaded(d_outer_s, v, unit, of_v, HIDDEN)
            d_w_m, d_w_s, d_u_s = d_w_m + tl.sum(m * d_m), d_w_s + tl.sum(s * d_m), d_u_s + tl.sum(s * d_s)
            via = tl.dot(d_y, m, input_precision=PRECISION)
            to_m += tl.sum(via * a, 1)
            d_asked = share_m[:, None] * via
            via = tl.dot(d_y, s, input_precision=PRECISION)
            to_s += tl.sum(via * a, 1)
            alike_w = loaded(of_alike, t, t, held, TOKENS)
            d_asked += share_s[:, None] * via + tl.dot(alike_w, h, input_precision=PRECISION)
            d_h = tl.dot(tl.trans(alike_w), a, input_precision=PRECISION)
            x = loaded(of_x, t, v, held, VALUES)
            via = tl.dot(x, d_m, input_precision=PRECISION)
            to_w += tl.sum(via * h, 1)
            d_h += row_w[:, None] * via
            via = tl.dot(x, d_s, input_precision=PRECISION)
            to_u += tl.sum(via * h, 1)
            d_h += row_u[:, None] * via
            d_x += tl.dot(h * row_w[:, None], tl.trans(d_m), input_precision=PRECISION)
            d_x += tl.dot(h * row_u[:, None], tl.trans(d_s), input_precision=PRECISION)
            d_s = w_s * d_m + u_s * d_s
            d_s += tl.dot(tl.trans(d_y), a * share_s[:, None], input_precision=PRECISION)
            d_m = w_m * d_m + tl.dot(tl.trans(d_y), a * share_m[:, None], input_precision=PRECISION)
            stored(d_outer, v, unit, of_v, d_m, HIDDEN)
            stored(d_outer_s, v, unit, of_v, d_s, HIDDEN)
            stored(d_units + own, t, unit, held, d_h, HIDDEN)
            # What W2 was asked, and what it was written.
            d_asked *= a_slope
            m, s = loaded(inner, unit, d, of_units, FEATURES), loaded(inner_s, unit, d, of_units, FEATURES)
            d_m, d_s = loaded(d_inner, unit, d, of_units, FEATURES), loaded(d_inner_s, unit, d, of_units, FEATURES)
            d_w_m, d_w_s, d_u_s = d_w_m + tl.sum(m * d_m), d_w_s + tl.sum(s * d_m), d_u_s + tl.sum(s * d_s)
            q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            by_q = tl.dot(d_asked, m, input_precision=PRECISION)
            to_m += tl.sum(by_q * q, 1)
            d_q += share_m[:, None] * by_q
            by_q = tl.dot(d_asked, s, input_precision=PRECISION)
            to_s += tl.sum(by_q * q, 1)
            d_q += share_s[:, None] * by_q
            d_close += tl.dot(d_asked, tl.trans(left), input_precision=PRECISION)
            close_w = loaded(of_close, t, t, held, TOKENS)
            d_left = tl.dot(tl.trans(close_w), d_asked, input_precision=PRECISION)
            k = loaded(keys + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
            via = tl.dot(k, tl.trans(d_m), input_precision=PRECISION)
            to_w += tl.sum(via * left, 1)
            d_left += row_w[:, None] * via
            via = tl.dot(k, tl.trans(d_s), input_precision=PRECISION)
            to_u += tl.sum(via * left, 1)
            d_left += row_u[:, None] * via
            d_k += tl.dot(left * row_w[:, None], d_m, input_precision=PRECISION)
            d_k += tl.dot(left * row_u[:, None], d_s, input_precision=PRECISION)
            d_s = w_s * d_m + u_s * d_s
            d_s += tl.dot(tl.trans(d_asked * share_s[:, None]), q, input_precision=PRECISION)
            d_m = w_m * d_m + tl.dot(tl.trans(d_asked * share_m[:, None]), q, input_precision=PRECISION)
            stored(d_inner, unit, d, of_units, d_m, FEATURES)
            stored(d_inner_s, unit, d, of_units, d_s, FEATURES)
            # The left factor of W2, where it was made: its share of the anchor goes to dM below.
            w1 = loaded(a_outer, v, unit, of_v, HIDDEN)
            d_x += tl.dot(d_left * slope, tl.trans(w1), input_precision=PRECISION)
            stored(d_slopes + own, t, unit, held, d_left, HIDDEN)
        k = loaded(keys + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        q = loaded(queries + place * FEATURES, t * HEADS, d, tokens, FEATURES).to(tl.float32)
        x = loaded(of_x, t, v, held, VALUES)
        rows_w = some_of(inside + at * TOKENS * TOKENS, when, t, known, held, TOKENS)
        d_q += tl.dot(d_close * rows_w, k, input_precision=PRECISION)
        d_k += tl.dot(tl.trans(d_close * rows_w), q, input_precision=PRECISION)
        entry = at * TOKENS * TOKENS + when[:, None] * TOKENS + t[None, :]
        d_y = loaded(d_found + place * VALUES, t * HEADS, v, tokens, VALUES).to(tl.float32)
        close = tl.dot(q, tl.trans(k), input_precision=PRECISION) * d_close
        near = loaded(alike + at * TOKENS * TOKENS, t, t, held, TOKENS)
        close += tl.dot(d_y, tl.trans(x), input_precision=PRECISION) * near
        tl.store(d_inside + entry, close, mask=known[:, None] & held[None, :])
        tl.store(d_last_w + at * TOKENS + t, to_w, mask=held)
        tl.store(d_last_u + at * TOKENS + t, to_u, mask=held)
        tl.store(d_last_u_s + at, d_u_s)
        at_end = when == TOKENS - 1
        tl.store(d_from_m + at * TOKENS + when, to_m + tl.where(at_end, d_w_m, 0.0), mask=known)
        tl.store(d_from_s + at * TOKENS + when, to_s + tl.where(at_end, d_w_s, 0.0), mask=known)
        if BEFORE:
            tl.store(d_inside + last * TOKENS + t, to_w * 0.0, mask=held)
            tl.store(d_from_m + last, d_w_m)
            tl.store(d_from_s + last, d_w_s)
        tl.debug_barrier()
        # What was known at the anchor.
        e = loaded(of_x, t, v, held, VALUES) / share[:, None]
        d_kappa = kappa * 0.0
        if NORMALISED:
            d_kappa = tl.where(kappa >= 1.0, -share * share * tl.sum(d_x * e, 1), 0.0)
        # A length of 0 has a gradient of 0; where one of the two is, so is this term.
        either = (long > 0.0) & (missed > 0.0)
        stretch = tl.where(either, long, 1.0) / tl.where(either, missed, 1.0)
        turning = tl.where(either, SLOPE * d_kappa, 0.0)
        d_e = share[:, None] * d_x + (turning * stretch)[:, None] * e
        d_k += (2.0 * d_kappa * slopes + turning / stretch)[:, None] * k
        d_k += features_of(d_e, d, v, FEATURES, VALUES, PRECISION)
        d_q += features_of(d_y, d, v, FEATURES, VALUES, PRECISION)
        opens, restarts = from_segment == n, tl.load(borders + 3 * marks + mark) != 0
        d_k += anchor_back(
            keys + place * FEATURES,
            of_x,
            d_slopes + own,
            d_units + own,
            a_outer,
            a_inner,
            d_outer,
            d_outer_s,
            d_outer_a,
            d_first_w1,
            d_inner,
            d_inner_s,
            d_inner_a,
            d_first_w2,
            d_e,
            d_kappa,
            long,
            opens,
            restarts,
            HEADS,
            length,
            TOKENS,
            FEATURES,
            VALUES,
            HIDDEN,
            TOKEN_TILE,
            FEATURE_TILE,
            VALUE_TILE,
            BLOCK,
            NORMALISED,
            PRECISION,
        )
        stored(d_queries + place * FEATURES, t * HEADS, d, tokens, d_q, FEATURES)
        stored(d_keys + place * FEATURES, t * HEADS, d, tokens, d_k, FEATURES)
        stored(d_values + place * VALUES, t * HEADS, v, tokens, -d_e, VALUES)
        tl.debug_barrier()

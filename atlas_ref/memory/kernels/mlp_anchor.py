"""What a segment of the MLP memory knew at its anchor, back to its keys and to the anchor, which M was where it opened.

With X = e r and l = (X A1) o gelu'(z), the gradients dL of l, dH of h and dE of e, and dk of kappa (`mlp_backward`):

    dH <- dH + dE A1 + 2 dk h,      dG = dL o (X A1) + 2 dk ||k||^2 gelu'(z) ||A1[:, j]||^2
    dz = dH o gelu'(z) + dG o gelu''(z),      dK += dz A2,      dA2 += dz^T K
    dA1 += X^T (dL o gelu'(z)) + dE^T h + 2 (sum dk ||k||^2 gelu'(z)^2) o A1
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded, stored
from atlas_ref.memory.kernels.mlp_parts import bend, gelu


@compiled
def _settle(
    d_m: tl.tensor,
    d_s: tl.tensor,
    d_a: tl.tensor,
    d_first: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    there: tl.tensor,
    gain: tl.tensor,
    opens: tl.tensor,
    restarts: tl.tensor,
    WIDTH: tl.constexpr,
) -> None:
    """Take what the anchor gains to the M that it was, where it was taken; that of a new document is M_0."""
    gain += loaded(d_a, row, column, there, WIDTH)
    if opens:
        m = loaded(d_m, row, column, there, WIDTH) + gain
        stored(d_a, row, column, there, gain * 0.0, WIDTH)
        if restarts:
            stored(d_first, row, column, there, loaded(d_first, row, column, there, WIDTH) + m, WIDTH)
            stored(d_s, row, column, there, m * 0.0, WIDTH)
            m = m * 0.0
        stored(d_m, row, column, there, m, WIDTH)
    else:
        stored(d_a, row, column, there, gain, WIDTH)


@compiled
def anchor_back(
    keys: tl.tensor,
    of_x: tl.tensor,
    of_left: tl.tensor,
    of_units: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    d_outer: tl.tensor,
    d_outer_s: tl.tensor,
    d_outer_a: tl.tensor,
    d_first_outer: tl.tensor,
    d_inner: tl.tensor,
    d_inner_s: tl.tensor,
    d_inner_a: tl.tensor,
    d_first_inner: tl.tensor,
    d_e: tl.tensor,
    d_kappa: tl.tensor,
    long: tl.tensor,
    opens: tl.tensor,
    restarts: tl.tensor,
    HEADS: tl.tensor,
    length: tl.tensor,
    TOKENS: tl.tensor,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    HIDDEN: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return what keys get, and settle what the anchor gets (module docstring)."""
    t, d, v = tl.arange(0, TOKEN_TILE), tl.arange(0, FEATURE_TILE), tl.arange(0, VALUE_TILE)
    held, of_v, weight = t < TOKENS, v < VALUES, d_kappa * long * long
    d_k = tl.zeros([TOKEN_TILE, FEATURE_TILE], tl.float32)
    for first in range(0, HIDDEN, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        there = unit < HIDDEN
        k = loaded(keys, t * HEADS, d, t < length, FEATURES).to(tl.float32)
        w1, w2 = loaded(a_outer, v, unit, of_v, HIDDEN), loaded(a_inner, unit, d, there, FEATURES)
        z = tl.dot(k, tl.trans(w2), input_precision=PRECISION)
        h, slope = gelu(z)
        d_left = loaded(of_left, t, unit, held, HIDDEN)
        d_h = loaded(of_units, t, unit, held, HIDDEN) + tl.dot(d_e, w1, input_precision=PRECISION)
        x = loaded(of_x, t, v, held, VALUES)
        d_slope = d_left * tl.dot(x, w1, input_precision=PRECISION)
        gain = tl.dot(tl.trans(x), d_left * slope, input_precision=PRECISION)
        gain += tl.dot(tl.trans(d_e), h, input_precision=PRECISION)
        if NORMALISED:
            d_h += 2.0 * d_kappa[:, None] * h
            d_slope += 2.0 * weight[:, None] * slope * tl.sum(w1 * w1, 0)[None, :]
            gain += 2.0 * tl.sum(weight[:, None] * slope * slope, 0)[None, :] * w1
        d_z = d_h * slope + d_slope * bend(z)
        d_k += tl.dot(d_z, w2, input_precision=PRECISION)
        _settle(d_outer, d_outer_s, d_outer_a, d_first_outer, v, unit, of_v, gain, opens, restarts, HIDDEN)
        gain = tl.dot(tl.trans(d_z), k, input_precision=PRECISION)
        _settle(d_inner, d_inner_s, d_inner_a, d_first_inner, unit, d, there, gain, opens, restarts, FEATURES)
    return d_k

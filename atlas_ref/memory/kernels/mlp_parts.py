"""What both kernels of the MLP memory compute: gelu, and what a segment knows at its anchor.

    z = W2 k,      h = gelu(z),      e = I k + W1 h - v,      kappa = ||h||^2 + ||k||^2 b + 1.13 ||k|| ||e||

with b = sum_j gelu'(z_j)^2 ||W1[:, j]||^2 (`factors.curvature`). Hidden units are gone through in blocks.
"""

from typing import Final

import triton.language as tl

from atlas_ref.memory.factors import GELU_SLOPE
from atlas_ref.memory.kernels.launching import compiled, loaded

ROOT_HALF: Final = tl.constexpr(0.5**0.5)
DENSITY: Final = tl.constexpr(0.3989422804014327)  # 1 / sqrt(2 pi)
SLOPE: Final = tl.constexpr(GELU_SLOPE)


@compiled
def gelu(z: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return gelu(z) = z Phi(z) and its slope Phi(z) + z phi(z)."""
    below = 0.5 * (1.0 + tl.erf(z * ROOT_HALF))
    return z * below, below + z * DENSITY * tl.exp(-0.5 * z * z)


@compiled
def bend(z: tl.tensor) -> tl.tensor:
    """Return the second derivative of gelu, (2 - z^2) phi(z)."""
    return (2.0 - z * z) * DENSITY * tl.exp(-0.5 * z * z)


@compiled
def at_anchor(
    outer: tl.tensor,
    inner: tl.tensor,
    k: tl.tensor,
    e: tl.tensor,
    d: tl.tensor,
    v: tl.tensor,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    NORMALISED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return e, where it came as I k - v, and of every key ||h||^2 and b (module docstring)."""
    squares = tl.sum(k, 1) * 0.0
    slopes = squares
    for first in range(0, HIDDEN, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        w1 = loaded(outer, v, unit, v < VALUES, HIDDEN)
        h, slope = gelu(tl.dot(k, tl.trans(loaded(inner, unit, d, unit < HIDDEN, FEATURES)), input_precision=PRECISION))
        e += tl.dot(h, tl.trans(w1), input_precision=PRECISION)
        if NORMALISED:
            squares += tl.sum(h * h, 1)
            slopes += tl.sum(slope * slope * tl.sum(w1 * w1, 0)[None, :], 1)
    return e, squares, slopes


@compiled
def divisor(
    k: tl.tensor, e: tl.tensor, squares: tl.tensor, slopes: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return kappa, ||k|| and ||e|| of every key."""
    length, missed = tl.sqrt(tl.sum(k * k, 1)), tl.sqrt(tl.sum(e * e, 1))
    return squares + length * length * slopes + SLOPE * length * missed, length, missed


@compiled
def residual(
    x: tl.tensor, token: tl.tensor, v: tl.tensor, there: tl.tensor, FEATURES: tl.constexpr, VALUES: tl.constexpr
) -> tl.tensor:
    """Return I x as a tile: the first features, where there are values for them."""
    mask = there[:, None] & ((v < VALUES) & (v < FEATURES))[None, :]
    return tl.load(x + token[:, None] * FEATURES + v[None, :], mask=mask, other=0.0).to(tl.float32)


@compiled
def features_of(
    x: tl.tensor,
    d: tl.tensor,
    v: tl.tensor,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return I^T x as a tile of features."""
    same = (v[:, None] == d[None, :]) & (v < VALUES)[:, None] & (d < FEATURES)[None, :]
    return tl.dot(x, tl.where(same, 1.0, 0.0), input_precision=PRECISION)

"""What several kernels of the MLP memory compute: where a segment stands in its group, gelu, what its slots know.

    z = W2 k,      h = gelu(z),      e = I k + W1 h - v,      kappa = ||h||^2 + ||k||^2 b + 1.13 ||k|| ||e||

with b = sum_j gelu'(z_j)^2 ||W1[:, j]||^2 and r = 1 / max(1, kappa) (`factors`), all at the anchor of the segment. The
gradients have the factors x = e r and h of W1, and l = (W1^T x) o gelu'(z) and k of W2.
"""

from typing import Final

import triton.language as tl

from atlas_ref.memory.factors import GELU_SLOPE
from atlas_ref.memory.kernels.launching import compiled, loaded, multiplied
from atlas_ref.memory.kernels.parts import share_of

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
def numbers(
    FIRST: tl.tensor, SHIFT: tl.tensor, BATCH: tl.tensor, HEADS: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return which memory a program is for, where its segment stands in the group, and where in the call.

    The group begins with segment FIRST; a launch is for all of its segments from SHIFT on, or for that one.
    """
    memory = tl.program_id(0).to(tl.int64)
    own = SHIFT * BATCH * HEADS + memory
    return memory, own, FIRST * BATCH * HEADS + own


@compiled
def seen_slots(
    SLOT_TILE: tl.constexpr, length: tl.tensor, before: tl.tensor, TOKENS: tl.tensor, PAST: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the slots of a segment, its window before its own tokens, which there are, and which are in sight."""
    i = tl.arange(0, SLOT_TILE)
    return i, i < PAST + TOKENS, (i >= PAST - before) & (i < PAST + length)


@compiled
def shares(
    curvature: tl.tensor, i: tl.tensor, slots: tl.tensor, NORMALISED: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Return r and kappa of the slots of a segment."""
    kappa = i * 0.0
    if NORMALISED:
        kappa = tl.load(curvature + i, mask=slots, other=0.0)
    return share_of(kappa, NORMALISED), kappa


@compiled
def at_anchor(
    k: tl.tensor,
    x: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    v: tl.tensor,
    unit: tl.tensor,
    d: tl.tensor,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return z and W1^T x of some hidden units."""
    z = multiplied(k, tl.trans(loaded(inner, unit, d, unit < HIDDEN, FEATURES)), PRECISION)
    return z, multiplied(x, loaded(outer, v, unit, v < VALUES, HIDDEN), PRECISION)


@compiled
def last_rows(
    inside: tl.tensor,
    last_u: tl.tensor,
    at: tl.tensor,
    i: tl.tensor,
    slots: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return w and u, the last rows of W and U of a segment, as columns beside its slots."""
    last = (at * TOKENS + TOKENS - 1) * (PAST + TOKENS)
    row_w = tl.load(inside + last + i, mask=slots, other=0.0)
    row_u = tl.load(last_u + at * (PAST + TOKENS) + i, mask=slots, other=0.0)
    return row_w[:, None], row_u[:, None]


@compiled
def last_shares(
    from_m: tl.tensor, from_s: tl.tensor, last_u_s: tl.tensor, at: tl.tensor, TOKENS: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return W[M] and W[S] of the last token, and U[S]: what a segment leaves of M and S."""
    last = at * TOKENS + TOKENS - 1
    return tl.load(from_m + last), tl.load(from_s + last), tl.load(last_u_s + at)

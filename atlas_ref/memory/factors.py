"""The inner gradient of a token as factors: for each weight matrix it has rank one, left_i right_i^T.

With u = psi / (2 ls) of the token (`bias`), h what stands in front of the outer matrix, z = W2 x, and r = u or, behind
a LayerNorm, its vector-Jacobian product with u (`architecture`):

    outer matrix      r h^T
    inner matrices    (W1^T r o dh/dz) x^T,      dh/dz = gelu'(z), or gelu'(z) o W3 x and gelu(z) for the two of a glu

That is all that the chunked form needs, so every memory shares it.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.architecture import LN_EPS, NORMED, Weights, normed, residual
from atlas_ref.memory.bias import curvature_factor, error_map
from atlas_ref.memory.rules import ArchitectureName, MemoryRule

LN_BEND = 2.0 / math.sqrt(3.0)
"""Bound on the second derivative of LN along a unit vector, times d^{1/2} sd^2 (derived; `curvature`)."""
GELU_SLOPE = 1.13
"""Bound on the slope of gelu, which is 1.129 where it is largest, at z = sqrt(2)."""


class Factors(NamedTuple):
    """Rank-one factors of each token's gradient, one pair per weight matrix.

    `divisor` is what each gradient was divided by, None where it was not. `error` is P(x) - v, None where that is
    divisor * left[0].
    """

    left: tuple[Float[Tensor, "*batch tokens out"], ...]
    right: tuple[Float[Tensor, "*batch tokens in"], ...]
    divisor: Float[Tensor, "*batch tokens"] | None
    error: Float[Tensor, "*batch tokens values"] | None = None


class _Hidden(NamedTuple):
    """h, and dh/dz of each inner matrix."""

    value: Tensor
    slopes: tuple[Tensor, ...]


def gradient_factors(
    rule: MemoryRule,
    weights: Weights,
    x: Float[Tensor, "*batch tokens features"],
    values: Float[Tensor, "*batch tokens values"],
    threshold: Float[Tensor, "*batch tokens"] | None = None,
) -> Factors:
    """Return left_i, right_i whose products are the gradients of the bias's loss / (2 ls) at `weights` (derived).

    Under `mass` the gradient of each token is divided by max(1, kappa_i), see `curvature`.
    """
    outer, *inner = weights
    hidden = _hidden(x, inner)
    raw = hidden.value @ outer.mT
    prediction = raw
    if rule.architecture != "matrix":
        prediction = residual(x, values.shape[-1]) + normed(rule.architecture, raw)
    slope = error_map(rule.bias, prediction, values, threshold)
    plain = rule.bias.name == "l2" and rule.architecture not in NORMED
    error = slope if plain else prediction - values
    divisor = None
    if rule.normalised:
        divisor = least_one(rule, _curvature(rule.architecture, outer, x, hidden, raw, error), error, threshold)
        slope = slope * divisor.reciprocal().unsqueeze(-1)
    if rule.architecture in NORMED:
        slope = layer_norm_vjp(raw, slope)
    back = tuple((slope @ outer) * part for part in hidden.slopes)
    return Factors((slope, *back), (hidden.value, *(x for _ in inner)), divisor, None if plain else error)


def curvature(
    architecture: ArchitectureName,
    weights: Weights,
    x: Float[Tensor, "*batch tokens features"],
    values: Float[Tensor, "*batch tokens values"],
) -> Float[Tensor, "*batch tokens"]:
    """Return kappa_i, a bound on the curvature of token i's inner loss (derived).

    matrix: ||x||^2.  mlp: ||gelu(z)||^2 + ||x||^2 sum_j gelu'(z_j)^2 ||W1[:, j]||^2 + 1.13 ||x|| ||e|| with z = W2 x
    and the error e = P(x) - v. The first two terms are the Gauss-Newton part: a step of 1/kappa_i does not overshoot
    the token's own target, to first order. The last bounds how the gradient of one matrix turns with the other, as
    gelu' is below 1.13; without it steps on large errors are chaotic: the state stays bounded, its gradient does not.

    linear_norm, mlp_norm: G / sd^2 (1 + 2/sqrt(3) ||e|| / sqrt(d)) + 1.13 ||x|| ||e|| / sd, with sd^2 the variance +
    eps of what stands in LN and G its Gauss-Newton part, which is ||x||^2, without the last term, or that of `mlp`. The
    slope of LN is a projection over sd; along a unit vector its second derivative is at most 2/sqrt(3)/(sqrt(d) sd^2).
    """
    outer, *inner = weights
    hidden = _hidden(x, inner)
    if architecture == "matrix":
        return x.square().sum(-1)
    raw = hidden.value @ outer.mT
    error = residual(x, values.shape[-1]) + normed(architecture, raw) - values
    return _curvature(architecture, outer, x, hidden, raw, error)


def least_one(
    rule: MemoryRule,
    kappa: Float[Tensor, "*batch tokens"],
    error: Float[Tensor, "*batch tokens values"],
    threshold: Float[Tensor, "*batch tokens"] | None,
) -> Float[Tensor, "*batch tokens"]:
    """Return max(1, kappa f), f the curvature of the rule's bias relative to that of `l2` (`bias`)."""
    if rule.bias.name != "l2":
        kappa = kappa * curvature_factor(rule.bias, error, threshold)
    return kappa.clamp(min=1.0)


def layer_norm_vjp(
    raw: Float[Tensor, "*batch values"], cotangent: Float[Tensor, "*batch values"]
) -> Float[Tensor, "*batch values"]:
    """Return J^T r of z -> LN(z) at `raw`: (r - mean(r) - z^ mean(r o z^)) / sd with z^ = LN(z) (derived)."""
    variance, mean = torch.var_mean(raw, -1, correction=0, keepdim=True)
    scale = (variance + LN_EPS).rsqrt()
    unit = (raw - mean) * scale
    along = (cotangent * unit).mean(-1, keepdim=True)
    return (cotangent - cotangent.mean(-1, keepdim=True) - unit * along) * scale


def _hidden(x: Tensor, inner: list[Tensor]) -> _Hidden:
    """Return h = x, gelu(W2 x), or gelu(W2 x) o W3 x."""
    if not inner:
        return _Hidden(x, ())
    value, slope = _gelu_and_slope(x @ inner[0].mT)
    if len(inner) == 1:
        return _Hidden(value, (slope,))
    gate = x @ inner[1].mT
    return _Hidden(value * gate, (slope * gate, value))


def _gelu_and_slope(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return gelu(z) = z Phi(z) and its derivative Phi(z) + z phi(z)."""
    below = torch.special.ndtr(z)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    return z * below, below + z * density


def _curvature(
    architecture: ArchitectureName, outer: Tensor, x: Tensor, hidden: _Hidden, raw: Tensor, error: Tensor
) -> Tensor:
    """Return kappa_i of `curvature` from what a prediction has computed on its way; `raw` is W1 h."""
    square = bound = x.square().sum(-1)
    if architecture == "matrix":
        return square
    # vector_norm has a gradient of 0 where its argument is 0.
    length, miss = (torch.linalg.vector_norm(vector, dim=-1) for vector in (x, error))
    turning = torch.zeros_like(square)
    if hidden.slopes:
        column = outer.square().sum(-2).unsqueeze(-1)
        bound = hidden.value.square().sum(-1) + square * (hidden.slopes[0].square() @ column).squeeze(-1)
        turning = GELU_SLOPE * length * miss
    if architecture in NORMED:
        scale = (raw.var(-1, correction=0) + LN_EPS).rsqrt()
        bound = bound * scale.square() * (1.0 + LN_BEND * miss / raw.shape[-1] ** 0.5)
        turning = turning * scale
    return bound + turning

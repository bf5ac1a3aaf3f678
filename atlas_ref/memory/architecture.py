"""What a memory is: a matrix, or the residual two-layer MLP of ATLAS, both as fast weights with rank-one gradients.

    matrix (Titans 2501.00663, one layer):        M(x) = W x
    mlp    (ATLAS 2505.23735, Section 4.6):       M(x) = I x + W1 gelu(W2 x)

x = f(k) in R^D, values in R^{d_v}. I is the d_v x D matrix with ones on its diagonal: the identity where D = d_v, and
the residual on the degree-1 part of the features otherwise (the paper's formula needs D = d_v).

The inner loss 1/2 ||M(x) - v||^2 has, for each weight matrix, a gradient of rank one: left_i right_i^T. That is all
that the chunked form needs, so both memories share it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.memory.rules import ArchitectureName

Weights = tuple[Tensor, ...]

GELU_SLOPE = 1.13
"""Bound on the slope of gelu, which is 1.129 where it is largest, at z = sqrt(2)."""


class Factors(NamedTuple):
    """Rank-one factors of each token's gradient, one pair per weight matrix.

    `divisor` is what each gradient was divided by, None where it was not; so the error of a token is divisor * left[0].
    """

    left: tuple[Float[Tensor, "*batch tokens out"], ...]
    right: tuple[Float[Tensor, "*batch tokens in"], ...]
    divisor: Float[Tensor, "*batch tokens"] | None


def _residual(x: Tensor, width: int) -> Tensor:
    """Return I x for the width x D matrix I with ones on its diagonal."""
    return F.pad(x[..., :width], (0, max(0, width - x.shape[-1])))


def _gelu_and_slope(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return gelu(z) = z Phi(z) and its derivative Phi(z) + z phi(z)."""
    below = torch.special.ndtr(z)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    return z * below, below + z * density


def predict(
    architecture: ArchitectureName,
    layers: Sequence[Callable[[Tensor], Tensor]],
    x: Float[Tensor, "*batch tokens features"],
) -> Float[Tensor, "*batch tokens values"]:
    """Return M(x), where `layers[i]` multiplies by the i-th weight matrix (module docstring).

    The matrices come as functions because inside a chunk every token sees weights of its own.
    """
    if architecture == "matrix":
        return layers[0](x)
    outer, inner = layers
    y = outer(F.gelu(inner(x)))
    return _residual(x, y.shape[-1]) + y


def predict_with(
    architecture: ArchitectureName, weights: Weights, x: Float[Tensor, "*batch tokens features"]
) -> Float[Tensor, "*batch tokens values"]:
    """Return M(x) for one set of weights, each [*batch, out, in]."""
    layers = [lambda z, matrix=matrix: z @ matrix.mT for matrix in weights]
    return predict(architecture, layers, x)


def gradient_factors(
    architecture: ArchitectureName,
    weights: Weights,
    x: Float[Tensor, "*batch tokens features"],
    values: Float[Tensor, "*batch tokens values"],
    normalised: bool,
) -> Factors:
    """Return left_i, right_i with d/dW 1/2 ||M(x_i) - v_i||^2 = left_i right_i^T at `weights` (derived).

    With `normalised` the gradient of each token is divided by max(1, kappa_i), see `curvature`.
    """
    if architecture == "matrix":
        error = x @ weights[0].mT - values
        divisor = curvature(architecture, weights, x, values).clamp(min=1.0) if normalised else None
        error = error if divisor is None else error / divisor.unsqueeze(-1)
        return Factors((error,), (x,), divisor)
    outer, inner = weights
    hidden, slope = _gelu_and_slope(x @ inner.mT)
    error = _residual(x, values.shape[-1]) + hidden @ outer.mT - values
    divisor = _mlp_curvature(outer, x, hidden, slope, error).clamp(min=1.0) if normalised else None
    error = error if divisor is None else error / divisor.unsqueeze(-1)
    return Factors((error, (error @ outer) * slope), (hidden, x), divisor)


def curvature(
    architecture: ArchitectureName,
    weights: Weights,
    x: Float[Tensor, "*batch tokens features"],
    values: Float[Tensor, "*batch tokens values"],
) -> Float[Tensor, "*batch tokens"]:
    """Return kappa_i, a bound on the curvature of token i's inner loss (derived).

    matrix: ||x||^2.  mlp: ||gelu(z)||^2 + ||x||^2 sum_j gelu'(z_j)^2 ||W1[:, j]||^2 + 1.13 ||x|| ||e|| with z = W2 x
    and the error e = M(x) - v. The first two terms are the Gauss-Newton part: a step of 1/kappa_i does not overshoot
    the token's own target, to first order. The last bounds how the gradient of one matrix turns with the other, as
    gelu' is below 1.13; without it steps on large errors are chaotic: the state stays bounded, its gradient does not.
    """
    if architecture == "matrix":
        return x.square().sum(-1)
    outer, inner = weights
    hidden, slope = _gelu_and_slope(x @ inner.mT)
    return _mlp_curvature(outer, x, hidden, slope, _residual(x, values.shape[-1]) + hidden @ outer.mT - values)


def _mlp_curvature(outer: Tensor, x: Tensor, hidden: Tensor, slope: Tensor, error: Tensor) -> Tensor:
    column = outer.square().sum(-2).unsqueeze(-1)
    gauss_newton = hidden.square().sum(-1) + x.square().sum(-1) * (slope.square() @ column).squeeze(-1)
    # vector_norm has a gradient of 0 where its argument is 0.
    length, miss = (torch.linalg.vector_norm(vector, dim=-1) for vector in (x, error))
    bound: Tensor = gauss_newton + GELU_SLOPE * length * miss
    return bound

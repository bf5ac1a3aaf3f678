"""What is out of sight counts for nothing, whatever it holds: selected away, never multiplied by zero.

This is the decision `out-of-sight` of the specification.
A parallel form hides what a token must not see behind a zero of its mask, and computes a block as one matrix product.
But 0 * inf and 0 * NaN are NaN, forward and backward: one value of another document that is not finite reaches every
token of the block, and every gradient of it. So what is not finite is taken out before the product, and the outputs
that do see it are NaN afterwards, as the sum that they stand for would be:

    y_t = sum_j P[t, j] x_j    becomes    NaN  if some bad x_j is in sight of t,    else  sum over the finite x_j

Where everything is finite nothing changes, to the last bit, so all of this is left out where a sum shows that it is.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.functional.looking import may_look


def not_finite(x: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return which entries are infinite or NaN; x - x is zero for all others, in half of the passes of `isfinite`."""
    values = x.detach()
    return values - values != 0


def surely_finite(first: Tensor, *others: Tensor) -> bool:
    """Return whether a sum of all entries is finite, so that each of them is; one that overflows says nothing.

    Nor does one that nobody may look at (`looking`).
    """
    if not may_look():
        return False
    total = sum((x.detach().sum() for x in others), first.detach().sum())
    return math.isfinite(total.item())


def take_out_bad(x: Float[Tensor, "*shape dim"]) -> tuple[Float[Tensor, "*shape dim"], Bool[Tensor, "*shape"]]:
    """Return x with zeros for the vectors (last axis) that are not finite, and which vectors those were."""
    bad = not_finite(x).any(dim=-1)
    return torch.where(bad.unsqueeze(-1), 0.0, x), bad


def sees_bad(
    sight: Bool[Tensor, "*#batch queries keys"], bad: Bool[Tensor, "*#batch keys"], dtype: torch.dtype
) -> Bool[Tensor, "*#batch queries"]:
    """Return which queries have a bad vector in sight; `dtype` is that of the product that counts them."""
    if sight.shape[-2] == 1:
        # Of one query, as in decoding, nothing is larger than the sight itself.
        return (sight & bad.unsqueeze(-2)).any(-1)
    if sight.ndim > bad.ndim > 1 and sight.shape[-3] == 1:
        # Heads that share a sight are columns of one product.
        return (sight.squeeze(-3).to(dtype) @ bad.mT.to(dtype)).mT > 0
    return (sight.to(dtype) @ bad.to(dtype).unsqueeze(-1)).squeeze(-1) > 0


def spoil(x: Float[Tensor, "*#shape"], where: Bool[Tensor, "*#shape"]) -> Float[Tensor, "*#shape"]:
    """Return x with NaN, which has no gradient, where something bad was in sight."""
    return torch.where(where, torch.nan, x)

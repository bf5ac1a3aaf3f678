"""Perpendicular gradient: remove the part that only scales the weights (arXiv 2501.04697; decision `perp-grad`)."""

import torch
from jaxtyping import Float
from torch import Tensor


def perp_grad(weight: Float[Tensor, "..."], gradient: Float[Tensor, "..."], rescale: bool) -> Float[Tensor, "..."]:
    """Return g - (w.g / w.w) w for one tensor as a whole; with `rescale`, at the length of g (decision `perp-grad`).

    A zero weight has no direction and leaves g alone. `rescale` is in the authors' code and not in their formula.
    """
    square = weight.square().sum()
    share = torch.where(square > 0, (weight * gradient).sum() / torch.where(square > 0, square, 1.0), 0.0)
    rest = gradient - share * weight
    if not rescale:
        return rest
    left = rest.norm()
    return rest * torch.where(left > 0, gradient.norm() / torch.where(left > 0, left, 1.0), 0.0)

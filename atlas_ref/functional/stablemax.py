"""StableMax: a softmax that does not saturate (arXiv 2501.04697; decision `stablemax`).

Deliberately different from one source system: there is no floor under the probabilities.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32


def stablemax(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Return s(x_i) / sum_j s(x_j) with s(x) = x + 1 for x >= 0 and 1 / (1 - x) for x < 0 (decision `stablemax`).

    Equal to softmax(sign(x) log(1 + |x|)). Computed in at least float32 and returned in the dtype of `x`. Everything is
    divided by the largest s first, so that entries of 1e38 do not overflow the sum.
    """
    wide = at_least_float32(x)
    # Each branch sees only its own half: the other half of 1 / (1 - x) is a division by zero at x = 1, in the gradient.
    s = torch.where(wide >= 0, wide + 1.0, 1.0 / (1.0 - wide.clamp(max=0.0)))
    s = s / s.amax(-1, keepdim=True).detach()
    return (s / s.sum(-1, keepdim=True)).to(x.dtype)

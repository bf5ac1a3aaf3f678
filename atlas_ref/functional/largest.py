"""The largest entry of each of many tensors, in few operations whatever their number."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def largest_entries(tensors: Sequence[Tensor]) -> Float[Tensor, " tensors"]:
    """Return max |x_i| of each tensor in float32 or wider: 0 of an empty one, NaN where a tensor has a NaN.

    It is 0 where all entries are, and finite where all entries are.
    """
    if not tensors:
        return torch.zeros(0)
    # Of nothing there is no maximum.
    some = [x if x.numel() else x.new_zeros(1) for x in tensors]
    if some[0].device.type == "cpu":
        # A norm looks at each number several times there, both ends of a tensor are found in one pass.
        found = [torch.stack(x.aminmax()).abs().amax() for x in some]
    else:
        found = list(torch._foreach_norm(some, math.inf))
    return torch.stack([x.to(torch.promote_types(x.dtype, torch.float32)) for x in found])

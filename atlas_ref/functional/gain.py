"""A learned gain that keeps learning at low precision.

A gain near 5 stored in bfloat16 moves only by steps above 0.0156, its logarithm only by steps above 0.0039: an
optimiser step of 1e-4 or 1e-3 rounds away in both (decision `gain`). So the logarithm is stored in float32 or wider,
whatever the model computes in; `stochastic_round_bf16` is the named alternative for a parameter that must live in
bfloat16.
"""

import torch
from jaxtyping import BFloat16, Float, Float32
from torch import Tensor

from atlas_ref.errors import UserError


def effective_gain(log_gain: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return exp(log_gain), in the dtype it is stored in, which must be float32 or wider.

    Raises UserError for a parameter stored in bfloat16 or float16, because optimiser steps would be lost.
    """
    if log_gain.dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"gain: log_gain is stored in {log_gain.dtype}, which loses optimiser steps; keep it in float32 or wider"
        )
    return log_gain.exp()


def stochastic_round_bf16(x: Float32[Tensor, "*shape"], generator: torch.Generator) -> BFloat16[Tensor, "*shape"]:
    """Round float32 to bfloat16 up or down at random, with the odds that make the mean exact: E[Q(x)] = x.

    A bfloat16 is the upper half of a float32, so adding 16 random bits and cutting the lower half does it; infinities
    and NaN pass.
    """
    noise = torch.randint(1 << 16, x.shape, generator=generator, dtype=torch.int32, device=x.device)
    upper_half = -(1 << 16)
    rounded = ((x.view(torch.int32) + noise) & upper_half).view(torch.float32)
    return torch.where(torch.isfinite(x), rounded, x).to(torch.bfloat16)

"""M3 state mixing at shard boundaries: how much of the previous shard's momentum and projection survives.

Decision 16. It shares its name with the M3 optimiser of Nested Learning (arXiv 2512.24695) and nothing else.

Notation
    a        mixing in (0, 1): 1 keeps the previous state, 0 restores the initial one
    n        boundary crossings that a row has seen
"""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError

WARMUP_START: Final = 0.1
WARMUP_END: Final = 0.5


def m3_alpha(
    crossings: Int[Tensor, " batch"], warmup_crossings: int, alpha_logit: Float[Tensor, ""]
) -> Float[Tensor, " batch"]:
    """Return the mixing of each row: 0.1 + 0.4 n/warmup while n < warmup_crossings, sigmoid(alpha_logit) from then on.

    The ramp is a constant: the logit gets its gradient only from rows beyond it. Raises UserError for a negative
    warmup.
    """
    if warmup_crossings < 0:
        raise UserError(f"m3: warmup_crossings is {warmup_crossings}, but it must be zero or more")
    progress = crossings.to(alpha_logit.dtype) / max(warmup_crossings, 1)
    ramp = WARMUP_START + (WARMUP_END - WARMUP_START) * progress
    return torch.where(crossings < warmup_crossings, ramp, torch.sigmoid(alpha_logit))


def m3_mix(
    previous: Float[Tensor, "batch ..."], initial: Float[Tensor, "..."], mixing: Float[Tensor, " batch"]
) -> Float[Tensor, "batch ..."]:
    """Return a * stopgrad(previous) + (1 - a) * initial, with one `initial` for all rows and one a for each.

    Momentum and projection start a new shard from this; the memory itself restarts from its initial value unmixed.
    """
    a = mixing.reshape(-1, *[1] * initial.ndim).to(previous.dtype)
    return a * previous.detach() + (1.0 - a) * initial

"""One step of Muon: momentum first, Newton-Schulz after (decision `muon`).

Training uses `torch.optim.Muon`, which iterates in bfloat16; this is the same step in the precision of its inputs, so
that a port can be held to it. One source system orthogonalised first and averaged afterwards, and then multiplied the
norm of the gradient back in: neither step is orthogonal.
"""

import math

from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.newton_schulz import CoefficientSet, Start, newton_schulz


def muon_step(
    weight: Float[Tensor, "rows columns"],
    buffer: Float[Tensor, "rows columns"],
    gradient: Float[Tensor, "rows columns"],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    coefficients: CoefficientSet,
    steps: int,
    start: Start = "add",
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]:
    """Return (weight, buffer) after one step with Nesterov momentum (decision `muon`).

    B <- momentum B + G,  U = NS(G + momentum B),  W <- (1 - lr wd) W - lr sqrt(max(1, rows / columns)) U.
    """
    buffer = momentum * buffer + gradient
    update = newton_schulz(gradient + momentum * buffer, steps, coefficients, start=start)
    scale = math.sqrt(max(1.0, weight.shape[0] / weight.shape[1]))
    return (1.0 - learning_rate * weight_decay) * weight - learning_rate * scale * update, buffer

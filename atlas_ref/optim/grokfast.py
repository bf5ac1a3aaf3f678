"""Grokfast: amplify the slow part of the gradient (arXiv 2405.20233; decision `grokfast`).

A low-pass filter is added: g + lambda EMA(g). One source system added lambda (g - EMA(g)), which is the high-pass
filter: it amplifies what the method is meant to suppress.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def filtered(
    gradient: Float[Tensor, "*shape"], average: Float[Tensor, "*shape"] | None, alpha: float, strength: float
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return (filtered gradient, moving average) of one step; before the first gradient there is no average.

    mu <- g, or alpha mu + (1 - alpha) g;  filtered = g + strength mu (arXiv 2405.20233, decision `grokfast`).
    """
    average = gradient if average is None else alpha * average + (1.0 - alpha) * gradient
    return gradient + strength * average, average


def grokfast(
    gradients: Float[Tensor, "steps dim"], alpha: float, strength: float
) -> tuple[Float[Tensor, "steps dim"], Float[Tensor, "steps dim"]]:
    """Return (filtered gradients, moving averages) of gradients in the order of the steps (decision `grokfast`).

    mu_1 = g_1,  mu_t = alpha mu_{t-1} + (1 - alpha) g_t,  filtered_t = g_t + strength mu_t.
    A constant gradient is multiplied by 1 + strength.
    """
    averages: list[Tensor] = []
    for gradient in gradients:
        averages.append(alpha * averages[-1] + (1.0 - alpha) * gradient if averages else gradient)
    average = torch.stack(averages) if averages else gradients
    return gradients + strength * average, average

"""Adaptive computation time: how many steps a token takes, and their weights (arXiv 1603.08983; decision `halting`).

Deliberately different from one source system: probabilities accumulate, so a *higher* threshold means *more* steps, and
the cost has a gradient, so that halting is learned (decision `halting`).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Halt(NamedTuple):
    """Steps taken, the weight of each step, and the cost."""

    steps: Int[Tensor, " batch"]
    weights: Float[Tensor, "batch steps"]
    ponder: Float[Tensor, " batch"]


def act_halt(probabilities: Float[Tensor, "batch steps"], threshold: float) -> Halt:
    """Return N, the weights of the steps and the cost N + R of probabilities h (1603.08983; decision `halting`).

    N = min {n : h_1 + ... + h_n >= threshold}, or the last step; R = 1 - sum_{n < N} h_n; the weights are
    h_1 .. h_{N-1}, R and zeros, and sum to one. The cost has the gradient -1 with respect to every h_n with n < N.
    """
    last = probabilities.shape[-1]
    before = torch.cumsum(probabilities, -1) - probabilities
    reached = (torch.cumsum(probabilities, -1) >= threshold).int()
    steps = torch.where(reached.any(-1), reached.argmax(-1) + 1, last)
    step = torch.arange(1, last + 1, device=probabilities.device)
    halts = step == steps.unsqueeze(-1)
    weights = torch.where(step < steps.unsqueeze(-1), probabilities, torch.where(halts, 1.0 - before, 0.0))
    remainder = torch.where(halts, weights, 0.0).sum(-1)
    return Halt(steps, weights, steps.to(probabilities.dtype) + remainder)

"""From logits to a token: temperature, top-k, top-p, and the stream of numbers that decides each draw.

Everything here is in float64, where the logits are, so that the same logits and seed give the same token on every
device: a draw changes only where a number of the stream falls within rounding, 1e-16, of the border of two tokens.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError

NOT_FINITE = "the logits of the model are not finite, so that no token can be drawn from them."
SEEDS = 2**64
"""Seeds are 0 to SEEDS - 1, and no two of them share a stream."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: the temperature (0 takes the likeliest), and how many of the likeliest may come.

    `top_k` keeps that many tokens, None all of them; `top_p` keeps the nucleus of that mass, 1 all of it. Raises
    UserError for a temperature that is not 0 or more and finite, a `top_k` below 1, a `top_p` outside (0, 1].
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise UserError(f"the temperature is {self.temperature}; it must be a finite number of at least 0.")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top-k is {self.top_k}; it must be at least 1.")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top-p is {self.top_p}; it must be greater than 0 and at most 1.")


def probabilities(logits: Float[Tensor, " vocab"], sampling: Sampling) -> Float[Tensor, " vocab"]:
    """Return the probability in float64 with which each token is drawn.

        P = softmax(logits / temperature)
        P_k = P restricted to its `top_k` largest entries and divided by their sum
        V_p = the smallest set with sum_{x in V_p} P_k(x) >= top_p
        P'(x) = P_k(x) / sum_{y in V_p} P_k(y) for x in V_p, else 0

    V_p is the nucleus (Holtzman et al. 2019, 1904.09751, Eq. 2 and 3) of what temperature and top-k leave. Of equal
    logits the token with the lower index counts as the likelier one, so that exactly `top_k` tokens stay and the
    smallest set is one set; the likeliest token is always in it. With `top_p` = 1 nothing is cut. Temperature 0 is the
    limit: all mass on the likeliest token; one too small to divide by is no error and gives that limit. Raises
    UserError for logits that are not finite.
    """
    wide = logits.detach().double()
    if not bool(torch.isfinite(wide).all()):
        raise UserError(NOT_FINITE)
    return _probabilities(wide, sampling)


def _probabilities(wide: Float[Tensor, " vocab"], sampling: Sampling) -> Float[Tensor, " vocab"]:
    """Return `probabilities` of finite logits in float64, without a look at any of them."""
    if sampling.temperature > 0.0 and sampling.top_k is None and sampling.top_p == 1.0:
        # The largest logit becomes 0 before the division, which then cannot overflow upwards.
        return ((wide - wide.amax()) / sampling.temperature).softmax(-1)
    # Stable: among equals the first stays first. Logits are sorted, since probabilities can be equal where they differ.
    order = wide.sort(descending=True, stable=True)
    if sampling.temperature == 0.0:
        return torch.zeros_like(wide).index_fill(0, order.indices[:1], 1.0)
    mass = ((order.values - order.values[0]) / sampling.temperature).softmax(-1)[: sampling.top_k]
    if sampling.top_p < 1.0:
        before = (mass / mass.sum()).cumsum(0)[:-1]
        # The likeliest token stays, and each that what stands before it leaves something for.
        mass = torch.cat([mass[:1], torch.where(before < sampling.top_p, mass[1:], 0.0)])
    return torch.zeros_like(wide).scatter(0, order.indices[: len(mass)], mass / mass.sum())


def chosen(logits: Float[Tensor, " vocab"], sampling: Sampling, uniform: Float[Tensor, " 1"]) -> Int[Tensor, " 1"]:
    """Return the first token whose cumulative probability exceeds a number of [0, 1), -1 of logits that are not finite.

    Without a look at any number, so that a CUDA graph can hold it.
    """
    wide = logits.detach().double()
    cumulative = _probabilities(wide, sampling).cumsum(0)
    # The number is less than the last entry, and a token of probability 0 exceeds nothing that the one before did not.
    token = torch.searchsorted(cumulative, uniform * cumulative[-1:], right=True)
    return torch.where(torch.isfinite(wide).all(), token, -1)


def stream(seed: int, sample: int = 0, step: int = 0) -> np.random.Generator:
    """Return the random numbers of one sample: those of (seed, sample, step) and of nothing else (Philox 4x64).

    Raises UserError for a seed outside [0, 2^64).
    """
    if not 0 <= seed < SEEDS:
        raise UserError(f"the seed is {seed}; it must be at least 0 and less than 2^64 = {SEEDS}.")
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, sample, step]))


def draw(logits: Float[Tensor, " vocab"], sampling: Sampling, random: np.random.Generator) -> int:
    """Return a token drawn from `probabilities` by the next number of `random` (`chosen`)."""
    uniform = torch.full((1,), random.random(), dtype=torch.float64, device=logits.device)
    return drawable(int(chosen(logits, sampling, uniform)))


def drawable(token: int) -> int:
    """Return a token that was `chosen`; raise UserError where none could be."""
    if token < 0:
        raise UserError(NOT_FINITE)
    return token

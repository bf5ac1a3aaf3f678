"""When a recursion would stop: how sure it is at the end, and after which iteration each token or row halts."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.config.cognate import HaltingConfig
from atlas_ref.functional.supervision import first_halt


class Halting(NamedTuple):
    """Over all who halt: mean and standard deviation of the probability in the last iteration, and of the iteration
    that each halts after the mean, the least and the largest."""

    mean: Float[Tensor, ""]
    deviation: Float[Tensor, ""]
    steps: Float[Tensor, ""]
    least: Float[Tensor, ""]
    largest: Float[Tensor, ""]


@torch.no_grad()
def halting(logits: Float[Tensor, "steps batch time"], settings: HaltingConfig) -> Halting:
    """Return when the tokens of a call halt, those that nothing is asked at included; NaN of a call without tokens.

    N = min {n : sigmoid(q_n) >= threshold}, or the last iteration (decision `halting`), without exploration; with
    `row` of each row, by the mean of the logits of its tokens. The probabilities are those of tokens in both.
    """
    wide = logits.detach().float()
    if not wide.numel():
        none = wide.new_full((), torch.nan)
        return Halting(none, none, none, none, none)
    last = torch.sigmoid(wide[-1])
    asked = wide.mean(-1) if settings.kind == "row" else wide
    made = first_halt(torch.sigmoid(asked.movedim(0, -1)), settings.threshold).float()
    mean = last.mean()
    return Halting(mean, (last - mean).square().mean().sqrt(), made.mean(), made.amin(), made.amax())

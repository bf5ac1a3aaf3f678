"""The floor under a gate: how it falls over a run, what a token's own one adds, and how near to it the gates are.

    scheduled(s) = before_i for until_(i-1) <= s < until_i, and `last` from the last of them on
    floor = max(own, scheduled)                         own: of what the token is read for, such as storage
    gate  = floor + (1 - floor) raw                     (`functional.mag_gate`: affine, so raw always has a gradient)
    risk  = mean [raw < floor + 0.05]                   over all raw gates

Deliberately different from the source system, whose schedule acted in no mode that it trained in, whose floors were
max(gate, floor), which stops the learning of every gate below, and whose risk was taken behind the floor, where no gate
can be below it (decision `floors`).
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Floor = TypeVar("Floor", float, Tensor)
"""A number, or a tensor of one where it has a derivative."""
NEAR = 0.05
"""A raw gate that is less than this above its floor, or below it, is near to collapse."""


def stepped_floor(step: int, until: Sequence[int], before: Sequence[Floor], last: Floor) -> Floor:
    """Return `before[i]` up to step `until[i]` (0-based, itself not), one after another, then `last`."""
    return next((floor for border, floor in zip(until, before, strict=True) if step < border), last)


def floor_over(own: Float[Tensor, "*shape"], scheduled: float | Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """Return the larger of each token's own floor and the scheduled one."""
    return own.clamp(min=scheduled)


@torch.no_grad()
def collapse_risk(raw: Float[Tensor, "*batch dim"], floor: float | Float[Tensor, "*batch 1"]) -> Float[Tensor, ""]:
    """Return the share of raw gates, those before the floor, that are below floor + 0.05; NaN of no gate at all."""
    return (raw < floor + NEAR).to(raw.dtype).mean()

"""A gain of 5 pushed by AdamW towards a target far above it, kept in one of five ways: how far does it really get?

The loss is the distance of the stored number (the gain, or its logarithm) from the target, so that its gradient is -1
at every step and AdamW without decay has a closed form: x_n = x_0 + n lr / (1 + eps). `benchmarks.gain_precision` makes
the table, `test_gain_storage` holds its core.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from atlas_ref.functional.gain import stochastic_round_bf16

Form = Literal["raw", "log"]
START: Final = 5.0
EPS: Final = 1e-8
Write = Callable[[Tensor, Tensor], Tensor]
"""From the number before and after a step, both in float32, to what is left of it where it is stored."""


def rounded(_: Tensor, after: Tensor) -> Tensor:
    """Store in bfloat16, to nearest."""
    return after.bfloat16().float()


def kept(_: Tensor, after: Tensor) -> Tensor:
    """Store in float32."""
    return after


class Stochastic:
    """Store in bfloat16, up or down at random with the odds that make the mean exact."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, _: Tensor, after: Tensor) -> Tensor:
        """Round what a step made."""
        return stochastic_round_bf16(after, self.generator).float()


class Kahan:
    """Store in bfloat16 with a second bfloat16 that holds what rounding lost (Kahan's summation)."""

    def __init__(self) -> None:
        self.lost: Tensor | float = 0.0

    def __call__(self, before: Tensor, after: Tensor) -> Tensor:
        """Add what was lost before, and keep what is lost now."""
        update = after - before + self.lost
        stored = (before + update).bfloat16().float()
        self.lost = (update - (stored - before)).bfloat16().float()
        return stored


WRITES: Final[dict[str, Callable[[], Write]]] = {
    "bf16": lambda: rounded,
    "bf16, fp32 moments": lambda: rounded,
    "fp32 master": lambda: kept,
    "stochastic rounding": Stochastic,
    "Kahan": Kahan,
}
"""How a step is stored. `bf16` alone also has AdamW's moments in bfloat16, as torch keeps them for such a parameter."""


@dataclass(frozen=True)
class Path:
    """What became of many gains that were pushed alike.

    frozen_at: the last step that moved any of them, where later ones should have moved it by two ulps; else None.
    gain: the mean gain at the end. value_error, path_error: rms of the error of each, of the gain as a share of the
    gain it should have, of the stored number as a share of the way it should have gone. bias: the error of the mean,
    as a share of that way. means: the mean gain after every step.
    """

    frozen_at: int | None
    gain: float
    value_error: float
    path_error: float
    bias: float
    means: list[float]


def closed_form(form: Form, rate: float, steps: int) -> float:
    """Return the stored number after `steps` steps, in float64."""
    start = math.log(START) if form == "log" else START
    return start + steps * rate / (1.0 + EPS)


def follow(
    storage: str, form: Form, rate: float, steps: int, entries: int = 1, betas: tuple[float, float] = (0.9, 0.95)
) -> Path:
    """Train `entries` gains and compare them with the closed form."""
    write = WRITES[storage]()
    dtype = torch.bfloat16 if storage == "bf16" else torch.float32
    exact = torch.full((entries,), closed_form(form, rate, 0))
    parameter = nn.Parameter(write(exact, exact).to(dtype))
    optimiser = torch.optim.AdamW([parameter], lr=rate, betas=betas, eps=EPS, weight_decay=0.0)
    last_moved, means = 0, [_gains(parameter, form).mean().item()]
    for step in range(1, steps + 1):
        before = parameter.detach().float().clone()
        parameter.grad = torch.full_like(parameter, -1.0)
        optimiser.step()
        with torch.no_grad():
            parameter.copy_(write(before, parameter.float()))
        last_moved = step if bool((parameter.float() != before).any()) else last_moved
        means.append(_gains(parameter, form).mean().item())
    stored = parameter.detach().double()
    ulp = 2.0 ** (math.floor(math.log2(float(stored.abs().max()))) - 7)
    return _compared(stored, form, rate, steps, None if (steps - last_moved) * rate <= 2 * ulp else last_moved, means)


def _gains(parameter: Tensor, form: Form) -> Tensor:
    value = parameter.detach().double()
    return value.exp() if form == "log" else value


def _compared(stored: Tensor, form: Form, rate: float, steps: int, frozen: int | None, means: list[float]) -> Path:
    meant = closed_form(form, rate, steps)
    way = meant - closed_form(form, rate, 0)
    gain = math.exp(meant) if form == "log" else meant
    return Path(
        frozen_at=frozen,
        gain=means[-1],
        value_error=float((_gains(stored, form) / gain - 1.0).square().mean().sqrt()),
        path_error=float((stored - meant).square().mean().sqrt()) / way,
        bias=float((stored - meant).mean()) / way,
        means=means,
    )

"""The attentional bias: which loss of a pair (k, v) the memory descends, as its slope at the prediction.

MIRAS (2504.13173, section 5.1) calls the inner loss the *bias* of a memory. It reaches a write only through
psi = d loss / d prediction, the error map; with e = M(k) - v, ls = `loss_scale`, p = `exponent`, s = `smoothing` and
delta = the threshold, a number per token and head:

| bias               | loss / ls                                  | psi / (2 ls)                                |
|--------------------|--------------------------------------------|---------------------------------------------|
| `l2`               | ||e||^2                                    | e                                           |
| `dot`              | -2 <M(k), v>                               | -v (Hebbian: linear attention)              |
| `lp`               | sum_j (e_j^2 + s^2)^{p/2} - s^p            | (p/2) e_j (e_j^2 + s^2)^{p/2 - 1}           |
| `huber_coordinate` | 2 sum_j H(e_j)                             | clip(e_j, -delta, delta)                    |
| `huber_norm`       | 2 H(||e||)                                 | e min(1, delta / ||e||)                     |
| `yaad_printed`     | none: it is the gradient of no loss        | e where ||e|| <= delta, else delta sign(e)  |
| `robust`           | ||e||^2 + 2 delta r, r = (||e||^2 + s^2)^{1/2} | e (1 + delta / r)                       |

H(x) is x^2 / 2 up to delta and delta (|x| - delta / 2) beyond. Every psi is linear in ls, so `loss_scale` multiplies
the window weights once (`rules`) whatever the bias. The threshold is that of the token that writes, for all pairs of
its window, as the window weights are: a window carries pairs and no thresholds.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError

BiasName = Literal["l2", "dot", "lp", "huber_coordinate", "huber_norm", "yaad_printed", "robust"]

WITH_THRESHOLD: frozenset[BiasName] = frozenset({"huber_coordinate", "huber_norm", "yaad_printed", "robust"})


@dataclass(frozen=True)
class Bias:
    """A bias by name: `exponent` is p of `lp`, `smoothing` is s of `lp` and `robust`."""

    name: BiasName = "l2"
    exponent: float = 2.0
    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse an exponent below 1, whose loss is not convex, and a smoothing that leaves a slope infinite."""
        if self.exponent < 1.0:
            raise UserError(
                f"bias 'lp' has the exponent {self.exponent:g}, valid is 1 or more: below, it is not convex"
            )
        if self.smoothing <= 0.0:
            raise UserError(
                f"bias '{self.name}' has the smoothing {self.smoothing:g}, valid is above 0: an error of zero would "
                "have no slope"
            )

    @property
    def has_threshold(self) -> bool:
        """Whether psi depends on a threshold of the token that writes."""
        return self.name in WITH_THRESHOLD


def error_map(
    bias: Bias,
    prediction: Float[Tensor, "*batch pairs values"],
    values: Float[Tensor, "*batch pairs values"],
    threshold: Float[Tensor, "*batch pairs"] | None,
) -> Float[Tensor, "*batch pairs values"]:
    """Return psi / (2 ls) of each pair (MIRAS 2504.13173 section 5.1 | derived; table of the module docstring).

    `threshold` is delta >= 0 of each pair, and is looked at by the biases that have one.
    """
    if bias.name == "dot":
        return -values
    error = prediction - values
    if bias.name == "l2":
        return error
    if bias.name == "lp":
        half = 0.5 * bias.exponent
        return half * error * (error.square() + bias.smoothing**2) ** (half - 1.0)
    assert threshold is not None, f"bias {bias.name} without a threshold"
    delta = threshold.unsqueeze(-1)
    if bias.name == "huber_coordinate":
        return error.clamp(-delta, delta)
    if bias.name == "robust":
        return error * (1.0 + delta / _length(bias, error))
    # vector_norm has a gradient of 0 where its argument is 0.
    norm = torch.linalg.vector_norm(error, dim=-1, keepdim=True)
    outside = norm > delta
    if bias.name == "yaad_printed":
        return torch.where(outside, delta * error.sign(), error)
    return error * torch.where(outside, delta / torch.where(outside, norm, 1.0), 1.0)


def curvature_factor(
    bias: Bias, error: Float[Tensor, "*batch pairs values"], threshold: Float[Tensor, "*batch pairs"] | None
) -> Float[Tensor, "*batch pairs"] | float:
    """Return a bound on the slope of psi / (2 ls) at e: what `mass` multiplies the curvature of `l2` by (derived).

    `dot` gives 0, as its slope is constant: its write is no contraction, and only retention bounds its memory.
    `yaad_printed` has none, because it jumps (`rules` refuses it with `mass`).
    """
    if bias.name == "dot":
        return 0.0
    if bias.name == "robust":
        assert threshold is not None, "bias robust without a threshold"
        return 1.0 + threshold / _length(bias, error).squeeze(-1)
    if bias.name != "lp":
        return 1.0
    half = 0.5 * bias.exponent
    if bias.exponent < 2.0:
        return float(half * bias.smoothing ** (bias.exponent - 2.0))
    steepest = (error.square() + bias.smoothing**2).amax(-1)
    return half * (bias.exponent - 1.0) * steepest ** (half - 1.0)


def _length(bias: Bias, error: Tensor) -> Tensor:
    """Return r = (||e||^2 + s^2)^{1/2} with an axis of one."""
    return (error.square().sum(-1, keepdim=True) + bias.smoothing**2).sqrt()

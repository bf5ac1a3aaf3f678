"""The link: from the dual state A, on which the recurrences act, to the weights W that reads and gradients see.

Mirror descent (MIRAS 2504.13173 Eq. 24, 27 | derived): every retention of MIRAS but the proximal one decays a dual
state linearly and maps it to weights,

    A_t = alpha_t A_{t-1} + release_t U(S_t),        W_t = link(A_t),

so the chunked form keeps its sums over A. The inner gradient is with respect to W; the outer one goes through the link.

| link             | W of one matrix A                             | mirror map of the regulariser             |
|------------------|-----------------------------------------------|-------------------------------------------|
| `identity`       | A                                             | 1/2 ||W||^2                               |
| `lq`             | sign(A) |A|^{q-1} / ||A||_q^{q-2}, 0 at A = 0 | 1/2 ||W||_{q*}^2, 1/q + 1/q* = 1          |
| `lq_printed`     | A / max(||A||_q, 1e-3)^{q-2}                  | none: at q = 4 twice the A is half the W  |
| `softmax`        | c softmax over the last axis of each row      | negative entropy of each row              |
| `sigmoid`        | 1 / (1 + exp(-A))                             | negative entropy of each entry and 1 - it |
| `soft_threshold` | sign(A) max(0, |A| - lambda)                  | 1/2 ||W||^2 + lambda ||W||_1              |

q = `exponent`, c = `scale`, lambda = `level`. Each matrix of each row of the batch and each head has its own link;
||.||_q is over all entries of a matrix. `lq` has degree 1 in A for every q; `identity` is its q = 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError

LinkName = Literal["identity", "lq", "lq_printed", "softmax", "sigmoid", "soft_threshold"]

PRINTED_FLOOR = 1e-3
"""Least norm that `lq_printed` divides by a power of: the quotient as printed is infinite at A = 0."""


@dataclass(frozen=True)
class Link:
    """A link by name: `exponent` is q of `lq` and `lq_printed`, `scale` is c, `level` is lambda."""

    name: LinkName = "identity"
    exponent: float = 2.0
    scale: float = 1.0
    level: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an exponent whose map has an infinite slope, rows that sum to nothing, and a threshold below zero."""
        if self.exponent < 2.0:
            raise UserError(
                f"link '{self.name}' has the exponent {self.exponent:g}, valid is 2 or more: below, the slope at an "
                "entry of zero is infinite"
            )
        if self.scale <= 0.0:
            raise UserError(f"link '{self.name}' has the scale {self.scale:g}, valid is above 0: rows sum to it")
        if self.level < 0.0:
            raise UserError(f"link '{self.name}' has the level {self.level:g}, valid is 0 or more")


def linked(link: Link, dual: Float[Tensor, "*batch out in"]) -> Float[Tensor, "*batch out in"]:
    """Return W = link(A) of each matrix (table of the module docstring)."""
    return _MAPS[link.name](link, dual)


def canonical(link: Link, dual: Float[Tensor, "*batch out in"]) -> Float[Tensor, "*batch out in"]:
    """Return the A that stands for all that give the same W: under `softmax` log(W / c), whose rows have log-sum-exp 0.

    A constant added to a row of logits changes nothing that is read; left alone it grows without bound, and two right
    implementations return different states. Every other link tells its A apart already.
    """
    return torch.log_softmax(dual, -1) if link.name == "softmax" else dual


def shrunk(x: Tensor, level: Tensor | float) -> Tensor:
    """Return sign(x) max(0, |x| - level), with a slope of zero inside: the proximal map of level ||x||_1."""
    if isinstance(level, float):
        return x - x.clamp(-level, level)
    return x - torch.maximum(torch.minimum(x, level), -level)


def _power(link: Link, dual: Tensor) -> Tensor:
    """Return sign(A) |A|^{q-1} / ||A||_q^{q-2}, computed on A / max |A|: of degree 1, so any unit gives the same."""
    q = link.exponent
    if q == 2.0:
        return dual
    peak = _peak(dual)
    unit = dual / torch.where(peak > 0.0, peak, 1.0)
    total = (unit.abs() ** q).sum((-2, -1), keepdim=True)
    # Selected: A = 0 gives W = 0 and a slope of 0, not a quotient of zeros.
    share = torch.where(total > 0.0, total, 1.0) ** ((2.0 - q) / q)
    return peak * unit.sign() * unit.abs() ** (q - 1.0) * share


def _quotient(link: Link, dual: Tensor) -> Tensor:
    """Return A / max(||A||_q, floor)^{q-2}, the norm taken in units in which no power of it underflows."""
    q = link.exponent
    size = _peak(dual).clamp(min=PRINTED_FLOOR)
    total = ((dual / size).abs() ** q).sum((-2, -1), keepdim=True)
    floor = (PRINTED_FLOOR / size) ** q
    return dual * size ** (2.0 - q) * torch.maximum(total, floor) ** ((2.0 - q) / q)


def _peak(dual: Tensor) -> Tensor:
    """Return max |A| of each matrix: a unit of computing, of which the result and its derivative are free."""
    return dual.detach().abs().amax((-2, -1), keepdim=True)


_MAPS: dict[LinkName, Callable[[Link, Tensor], Tensor]] = {
    "identity": lambda _, a: a,
    "lq": _power,
    "lq_printed": _quotient,
    "softmax": lambda link, a: link.scale * torch.softmax(a, -1),
    "sigmoid": lambda _, a: torch.sigmoid(a),
    "soft_threshold": lambda link, a: shrunk(a, link.level) if link.level else a,
}

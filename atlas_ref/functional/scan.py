"""Linear scans with data-dependent decay: the closed form of momentum and retention inside a chunk.

Both inner recurrences of the memory are first-order linear, x_t = d_t x_{t-1} + r_t. Inside a chunk they become one
triangular matrix of decay products, so that a whole chunk is a few matrix products:

    x_t = (d_1 ... d_t) x_0 + sum_{i <= t} D[t, i] r_i,     D[t, i] = d_{i+1} ... d_t,     D[t, t] = 1.

Deliberately different from the usual exp(difference of cumulative logs): each product is summed over its own factors
only, so a decay of exactly 0 is exact, no entry overflows, and the gradient needs no division by a decay.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _DecayProducts(torch.autograd.Function):
    """D = (I - shift diag(d))^-1, with its derivative dD = D (shift diag(dd)) D written out."""

    @staticmethod
    def forward(decay: Tensor) -> Tensor:
        length = decay.shape[-1]
        row = torch.arange(length, device=decay.device)
        logs = torch.log(decay).unsqueeze(-1).expand(*decay.shape, length)
        # Masked before the sum: an entry above the diagonal never reaches the exponential.
        logs = torch.where(row[:, None] > row[None, :], logs, 0.0).cumsum(-2)
        return torch.where(row[:, None] >= row[None, :], logs, -torch.inf).exp()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (products,) = ctx.saved_tensors
        inner = products.mT @ grads[0] @ products.mT
        return torch.nn.functional.pad(torch.diagonal(inner, offset=-1, dim1=-2, dim2=-1), (1, 0))


def decay_products(decay: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch time time"]:
    """Return D[t, i] = d_{i+1} d_{i+2} ... d_t for i <= t and 0 above the diagonal (derived; Titans 2501.00663 Eq. 16).

    `decay` lies in [0, 1]; 0 and 1 are exact, in the value and in the gradient.
    """
    apply: Callable[[Tensor], Tensor] = _DecayProducts.apply
    return apply(decay)


def linear_scan(
    decay: Float[Tensor, "*batch time"],
    inputs: Float[Tensor, "*batch time dim"],
    initial: Float[Tensor, "*batch dim"],
) -> Float[Tensor, "*batch time dim"]:
    """Return every state of x_t = d_t x_{t-1} + r_t, x_0 = `initial` (derived).

    `decay` lies in [0, 1]. The work is quadratic in `time`: meant for one chunk, not for a whole sequence.
    """
    first = torch.cumprod(decay, dim=-1).unsqueeze(-1) * initial.unsqueeze(-2)
    return first + decay_products(decay) @ inputs

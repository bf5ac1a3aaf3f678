"""Vector normalisation: the l2 norm that queries and keys pass through, and exact directions.

`l2_normalize` is smooth everywhere because its length `eps` enters under the root; `unit_vector` is the literal
x/||x||, with the direction of the zero vector taken as zero. Both work on x divided by its largest entry, so that
neither a norm of 1e20 nor one of 1e-20 is squared in single precision. RMS normalisation is
`torch.nn.functional.rms_norm`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.errors import UserError


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Widen bfloat16 and float16 to float32; leave float32 and float64 alone."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def of_dtype(x: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Return x in `dtype`: x itself where it is, which torch takes as long to find out as for a product of a token."""
    return x if x.dtype == dtype else x.to(dtype)


def as_autocast_rounds(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return x as autocast rounds it for a matrix product: once, where several products read it."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which products are of the dtype that they are given, whatever surrounds it."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def _largest_entry(x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape 1"]:
    """Return max |x_i| over the last axis, 1 where it is zero, as a constant.

    The results below do not depend on this factor (it cancels), which is why leaving it out of the gradient is exact.
    """
    largest = x.detach().abs().amax(dim=-1, keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def l2_normalize(x: Float[Tensor, "*shape dim"], eps: float) -> Float[Tensor, "*shape dim"]:
    """Divide each vector by its regularised length: x / sqrt(||x||^2 + eps^2) over the last axis.

    `eps` is a length, in the units of x. Zero gives zero and no derivative exceeds 1/eps. Computed in at least float32,
    returned in the dtype of x. Raises UserError unless eps > 0.
    """
    if not eps > 0:
        raise UserError(f"l2_normalize: eps is {eps}, but it must be a positive length such as 1e-6")
    wide = at_least_float32(x)
    if not torch.is_grad_enabled():
        return of_dtype(wide / _length(wide, eps), x.dtype)
    apply: Callable[[Tensor, float], Tensor] = _Normalized.apply
    return apply(wide, eps).to(x.dtype)


def _length(x: Float[Tensor, "*shape dim"], eps: float) -> Float[Tensor, "*shape 1"]:
    """Return sqrt(||x||^2 + eps^2), summed in float64 in one pass over x: the square of 1e20 is no float32."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float64)
    return torch.hypot(length, _constant(eps, x.device)).to(x.dtype)


@cache
def _constant(value: float, device: torch.device) -> Float[Tensor, ""]:
    """Return a number in float64 where it is computed with, once for all calls."""
    # Training may meet it too, though decoding made it.
    with torch.inference_mode(False):
        return torch.full((), value, dtype=torch.float64, device=device)


class _Normalized(torch.autograd.Function):
    """y = x / length, with its derivative (dy - y (y . dy)) / length written out: y is of order one, so nothing is
    squared that float32 could not hold."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        length = _length(x, eps)
        y = x / length
        ctx.save_for_backward(y, length)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        y, length = ctx.saved_tensors
        along = torch.linalg.vecdot(y, grads[0]).unsqueeze(-1)
        return torch.addcmul(grads[0], y, along, value=-1).div_(length), None


def unit_vector(x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
    """Return the exact direction x/||x|| over the last axis; the direction of zero is zero, with zero gradient.

    Computed in at least float32, returned in the dtype of x.
    """
    wide = at_least_float32(x)
    scaled = wide / _largest_entry(wide)
    square = scaled.square().sum(dim=-1, keepdim=True)
    # One before the root where the vector is zero: the root of zero has no finite gradient.
    length = torch.where(square > 0, square, torch.ones_like(square)).sqrt()
    return torch.where(square > 0, scaled / length, torch.zeros_like(scaled)).to(x.dtype)

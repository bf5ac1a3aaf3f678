"""Rotary position embedding (RoPE, arXiv 2104.09864, Eq. 34), applied to the queries and keys of attention only.

Positions count from the start of the document, so that a document is treated alike wherever it lies in the stream.
"""

from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.normalize import at_least_float32, of_dtype

Angles = tuple[Float[Tensor, "batch time 1 half"], Float[Tensor, "batch time 1 half"]]


def rotate(
    x: Float[Tensor, "batch time heads dim"], position: Int[Tensor, "batch time"], base: float
) -> Float[Tensor, "batch time heads dim"]:
    """Turn each pair (x_{2i}, x_{2i+1}) by the angle position * base^(-2i/dim).

    The product of a rotated query and a rotated key depends on their positions only through the difference. Angles are
    computed in float64, because position times frequency exceeds what float32 resolves in long documents; the rotation
    itself runs in at least float32 and the dtype of x comes back. Raises UserError for an odd head width.
    """
    return turned(x, *angles(position, x.shape[-1], base, at_least_float32(x).dtype))


def angles(position: Int[Tensor, "batch time"], dim: int, base: float, dtype: torch.dtype) -> Angles:
    """Return cosine and sine of the angle of every pair of a head of width `dim`, rounded to `dtype` (`rotate`)."""
    if dim % 2:
        raise UserError(f"rotary: the head width is {dim}, but rotation pairs its entries, so it must be even")
    angle = position[..., None, None] * _frequencies(dim, base, position.device)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def turned(
    x: Float[Tensor, "batch time heads dim"],
    cosine: Float[Tensor, "batch time 1 half"],
    sine: Float[Tensor, "batch time 1 half"],
) -> Float[Tensor, "batch time heads dim"]:
    """Return x turned by the `angles` of its tokens, in the dtype of x."""
    wide = at_least_float32(x)
    even, odd = torch.unflatten(wide, -1, (-1, 2)).unbind(-1)
    real, imaginary = torch.addcmul(even * cosine, odd, sine, value=-1), torch.addcmul(odd * cosine, even, sine)
    return of_dtype(torch.stack([real, imaginary], dim=-1).flatten(-2), x.dtype)


@cache
def _frequencies(dim: int, base: float, device: torch.device) -> Float[Tensor, " half"]:
    """Return base^(-2i/dim) of every pair, once for all calls."""
    # A constant that training may meet too, though decoding made it.
    with torch.inference_mode(False):
        exponent = torch.arange(0, dim, 2, device=device, dtype=torch.float64) / dim
        return base**-exponent

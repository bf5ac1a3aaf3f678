"""Passes over tokens that a block makes between its products, each in one form of two: as it is written, or by kernels.

Kernels (`blocks.kernels.rows`) do in one pass what takes several, and round once, at its end. Under autocast they give
a norm as products read it, where the reference leaves the rounding to each product.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.kernels.choice import kernel_rows
from atlas_ref.functional.dropout import Drop, dropped
from atlas_ref.memory.kernels.choice import Kernels


def normed(
    norm: nn.RMSNorm, x: Float[Tensor, "batch time dim"], kernels: Kernels, uses: int = 1
) -> tuple[Float[Tensor, "batch time dim"], ...]:
    """Return x to go on with, and the norm of each token for up to four products that read it.

    By kernels the gradients of all of them are added in one pass.
    """
    rows = kernel_rows(kernels, x)
    if rows is None or norm.eps is None:
        return (x, *(norm(x),) * uses)
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    found: tuple[Tensor, ...] = rows.normed(x, rows.Norm(norm.weight, norm.eps), uses, dtype)
    return found


def left(x: Float[Tensor, "batch time dim"], drop: Drop | None, kernels: Kernels) -> Float[Tensor, "batch time dim"]:
    """Return what dropout leaves of each token."""
    rows = None if drop is None else kernel_rows(kernels, x)
    if rows is None:
        return dropped(x, drop)
    found: Tensor = rows.dropped(x, drop, None)
    return found


def added(
    x: Float[Tensor, "batch time dim"], y: Float[Tensor, "batch time dim"], drop: Drop | None, kernels: Kernels
) -> Float[Tensor, "batch time dim"]:
    """Return x plus what dropout leaves of y."""
    rows = None if drop is None else kernel_rows(kernels, x)
    if rows is None:
        return x + dropped(y, drop)
    found: Tensor = rows.dropped(y, drop, x)
    return found


def swiglu(up: Float[Tensor, "batch time twice"], kernels: Kernels) -> Float[Tensor, "batch time hidden"]:
    """Return silu(a) b of a and b side by side."""
    rows = kernel_rows(kernels, up)
    if rows is None:
        gate, value = up.chunk(2, dim=-1)
        return F.silu(gate) * value
    found: Tensor = rows.swiglu(up)
    return found

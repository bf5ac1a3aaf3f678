"""Convolution, SiLU and l2 norm in front of a memory, in one pass on a CPU (`cpp/front.hpp`)."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.call import Widths
from atlas_ref.memory.kernels.cpu_library import ask

SIZES = ("threads", "batch", "time", "heads", "key", "value", "kernel")
NUMBERS = ("eps", "scale")
GIVEN = ("projected", "weight", "tail", "position")
FOUND = ("queries", "keys", "values")
ADDRESSES = (*GIVEN, *FOUND, *(f"d_{name}" for name in FOUND), "d_projected", "d_weight", "d_tail", "d_scale")
BLOCK = 128
"""Tokens of a task, as in `cpp/front.hpp`: each has gradients of the filters of its own, which are added up."""


class _Call(ctypes.Structure):
    """`FrontCall` of `cpp/front.hpp`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_double) for name in NUMBERS),
        *((name, ctypes.c_void_p) for name in ADDRESSES),
    )


def front(
    library: ctypes.CDLL,
    projected: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels kernel"],
    tail: Float[Tensor, "batch kernel_minus_1 channels"],
    position: Int[Tensor, "batch time"],
    scale: Float[Tensor, " 1"] | None,
    widths: Widths,
    dtype: torch.dtype,
) -> tuple[
    Float[Tensor, "batch time heads key"],
    Float[Tensor, "batch time heads key"],
    Float[Tensor, "batch time heads value"],
]:
    """Return queries and keys of length s, and values (decision `addresses`), as `kernels.front` does.

    Computed in the dtype of what is projected and rounded to `dtype`.
    """
    given = (projected.contiguous(), weight.T.contiguous(), tail.contiguous(), position.contiguous())
    apply: Callable[..., tuple[Tensor, ...]] = _Front.apply if torch.is_grad_enabled() else _answer
    queries, keys, values = apply(library, *given, scale, widths)
    return queries.to(dtype), keys.to(dtype), values.to(dtype)


def _answer(
    library: ctypes.CDLL,
    projected: Tensor,
    weight: Tensor,
    tail: Tensor,
    position: Tensor,
    scale: Tensor | None,
    widths: Widths,
) -> tuple[Tensor, ...]:
    """Return queries, keys and values in the dtype of what is projected; `weight` is [kernel, channels]."""
    given, shape = (projected, weight, tail, position), (*position.shape, widths.heads)
    found = tuple(projected.new_empty(*shape, width) for width in (widths.key, widths.key, widths.value))
    named = dict(zip(FOUND, found, strict=True))
    ask(library, "front_forward", projected.dtype, _call(given, widths, _length(scale), named))
    return found


def _length(scale: Tensor | None) -> float:
    return 1.0 if scale is None else float(scale)


class _Front(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: ctypes.CDLL,
        projected: Tensor,
        weight: Tensor,
        tail: Tensor,
        position: Tensor,
        scale: Tensor | None,
        widths: Widths,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(projected, weight, tail, position)
        ctx.library, ctx.widths, ctx.length, ctx.scaled = library, widths, _length(scale), scale is not None
        return _answer(library, projected, weight, tail, position, scale, widths)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        projected, weight, tail, position = given
        tasks = len(position) * -(-position.shape[1] // BLOCK)
        of_scale = torch.empty(tasks, dtype=torch.float64)
        found = (torch.empty_like(projected), weight.new_empty(tasks, *weight.shape), torch.empty_like(tail), of_scale)
        wanted = tuple(x.contiguous() for x in grads)
        named = dict(zip(ADDRESSES[len(GIVEN) + len(FOUND) :], (*wanted, *found), strict=True))
        ask(ctx.library, "front_backward", projected.dtype, _call(given, ctx.widths, ctx.length, named))
        d_scale = of_scale.sum().view(1).to(weight.dtype) if ctx.scaled else None
        return None, found[0], found[1].sum(0), found[2], None, d_scale, None


def _call(given: tuple[Tensor, ...], widths: Widths, scale: float, more: dict[str, Tensor]) -> _Call:
    """Return a call with what both passes read, and `more`; what it names must outlive it."""
    weight, position = given[1], given[3]
    sizes = (torch.get_num_threads(), *position.shape, widths.heads, widths.key, widths.value, len(weight))
    named = dict(zip(GIVEN, given, strict=True)) | more
    return _Call(*sizes, widths.eps, scale, **{name: x.data_ptr() for name, x in named.items()})

"""Rows of a table by their numbers, with a gradient that has the same bits each time.

    y_t = W[i_t],    dW_v = sum over t with i_t = v of dy_t

torch adds these up on a GPU as the additions happen to arrive, so that float32 rounds otherwise each time, wherever the
table is small and its rows are asked for often (from 2.11 on; pytorch pull request 172454). Training grows that: two
runs of one seed part, and so do a run and the same run resumed. Told to, torch sorts first and adds in order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def embed(weight: Float[Tensor, "rows width"], index: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens width"]:
    """Return W[i] of each i; an index outside the table is an error of torch's."""
    taken: Callable[[Tensor, Tensor], Tensor] = _Embedded.apply
    return taken(weight, index)


class _Embedded(torch.autograd.Function):
    """W[i], whose derivative is added up in the order of the tokens (module docstring)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(weight)
        return torch.nn.functional.embedding(index, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        with _in_order():
            return torch.ops.aten.embedding_dense_backward(grads[0].contiguous(), index, ctx.rows, -1, False), None


@contextmanager
def _in_order() -> Iterator[None]:
    """Have torch take what gives the same bits each time inside, and do afterwards as it did before."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)

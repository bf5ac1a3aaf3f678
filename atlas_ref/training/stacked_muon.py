"""Muon on matrices of equal shape side by side: the step of `torch.optim.Muon`, in a few launches a shape.

    B <- m B + (1 - m) G,   U = NS((1 - m) G + m B),   W <- (1 - lr wd) W - lr sqrt(max(1, rows / columns)) U

torch takes one matrix after another, some twenty launches each; a GPU is done with a small one sooner than the host
with giving them out. Here every product of the iteration is that of all matrices of a shape. Nothing else differs: the
iteration is in bfloat16, the buffers are those of torch under their names, so a checkpoint goes from one to the other.
Products of stacks may round otherwise than those of single matrices do, and lr U is rounded before it is subtracted,
as where lr is a tensor (`training.recorded_update`) it cannot be a factor of the sum.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.training.eager import EagerMuon


class StackedMuon(EagerMuon):
    """Muon that orthogonalises all matrices of a shape at once (module docstring)."""

    def step(self, closure: Any = None) -> Any:
        """Move every matrix that has a gradient."""
        del closure
        with torch.no_grad():
            for group in self.param_groups:
                weights = [x for x in group["params"] if x.grad is not None]
                if weights:
                    self._move(weights, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Move the matrices of a group."""
        gradients = [x.grad for x in weights if x.grad is not None]
        for weight, gradient in zip(weights, gradients, strict=True):
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(gradient)
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        moves = made(buffers, gradients, group)
        torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, moves)


def made(buffers: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Take gradients into their buffers, and return -lr sqrt(max(1, rows / columns)) U of each, in its dtype."""
    torch._foreach_lerp_(buffers, gradients, 1.0 - group["momentum"])
    ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for number, gradient in enumerate(gradients):
        by_shape[gradient.shape].append(number)
    moves = list(gradients)
    for (rows, columns), numbers in by_shape.items():
        found = orthogonal([ahead[n] for n in numbers], group["ns_coefficients"], group["ns_steps"], group["eps"])
        # As the matrices lie, so that all are moved at once.
        wide = found.contiguous().to(gradients[0].dtype) * (-math.sqrt(max(1.0, rows / columns)) * group["lr"])
        for number, move in zip(numbers, wide.unbind(), strict=True):
            moves[number] = move
    return moves


def orthogonal(
    matrices: Sequence[Float[Tensor, "rows columns"]], coefficients: tuple[float, float, float], steps: int, eps: float
) -> Float[Tensor, "count rows columns"]:
    """Return matrices of one shape after `steps` of X <- a X + (b G + c G G) X, G = X X^T, from X / max(||X||_F, eps).

    In bfloat16; the Gram matrix is that of the shorter side.
    """
    a, b, c = coefficients
    x = torch.stack(list(matrices)).bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x

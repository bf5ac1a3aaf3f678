"""Muon on matrices of equal shape side by side: the step of `torch.optim.Muon`, in a few launches a shape.

    B <- m B + (1 - m) G,   U = NS((1 - m) G + m B),   W <- (1 - lr wd) W - lr sqrt(max(1, rows / columns)) U

torch takes one matrix after another, some twenty launches each; a GPU is done with a small one sooner than the host
with giving them out. Here every product of the iteration is that of all matrices of a shape. Nothing else differs: the
iteration is in bfloat16, the buffers are those of torch under their names, so a checkpoint goes from one to the other.
Products of stacks may round otherwise than those of single matrices do.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.training.eager import EagerMuon

MOST: Final = 2**26
"""Most numbers of all matrices together whose step is recorded: a graph keeps what it needs in between."""
TRIES: Final = 2
"""Times that a step is recorded anew where gradients lie elsewhere after all."""


class Recorded(NamedTuple):
    """What some buffers and gradients become, recorded: where these lie, the graph, and where it puts its moves."""

    places: tuple[int, ...]
    graph: torch.cuda.CUDAGraph
    moves: list[Tensor]


class StackedMuon(EagerMuon):
    """Muon that orthogonalises all matrices of a shape at once (module docstring)."""

    _recorded: Recorded | None = None
    _places: tuple[int, ...] = ()
    _tries: int = 0

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
        moves = self._moves(buffers, gradients, group)
        torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, moves, alpha=-group["lr"])

    def _moves(self, buffers: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Take the gradients into the buffers and return the moves, by a graph where they lie where they lay before.

        Gradients of a recorded step do (`training.graphed`). A graph does what `made` does, in one launch.
        """
        before, places = self._places, tuple(x.data_ptr() for x in (*buffers, *gradients))
        if self._recorded is not None and self._recorded.places == places:
            self._recorded.graph.replay()
            return self._recorded.moves
        self._places = places
        if places != before or not self._may_record(gradients):
            return made(buffers, gradients, group)
        self._tries += 1
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                moves = made(buffers, gradients, group)
        except RuntimeError:
            # What a graph cannot hold is done as it is; a recording that failed has done nothing.
            self._tries = TRIES
            return made(buffers, gradients, group)
        self._recorded = Recorded(places, graph, moves)
        graph.replay()
        return moves

    def _may_record(self, gradients: list[Tensor]) -> bool:
        """Return whether a graph may do what is done to these: those of the only group, on a GPU, and not too large."""
        only = len(self.param_groups) == 1 and self._tries < TRIES
        return only and gradients[0].is_cuda and sum(x.numel() for x in gradients) <= MOST


def made(buffers: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Take gradients into their buffers, and return sqrt(max(1, rows / columns)) U of each, in its dtype."""
    torch._foreach_lerp_(buffers, gradients, 1.0 - group["momentum"])
    ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for number, gradient in enumerate(gradients):
        by_shape[gradient.shape].append(number)
    moves = list(gradients)
    for (rows, columns), numbers in by_shape.items():
        found = orthogonal([ahead[n] for n in numbers], group["ns_coefficients"], group["ns_steps"], group["eps"])
        wide = found.to(gradients[0].dtype) * math.sqrt(max(1.0, rows / columns))
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
    x = torch.stack([matrix.bfloat16() for matrix in matrices])
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x

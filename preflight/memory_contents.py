"""States whose memory holds something else than what was written, while everything around it stays.

Only the fast weights, their momentum, their anchor and the Omega window are replaced. The caches of attention, the tail
of the convolution, the Q-K projection and the position stay those of the real context, so that whatever differs between
two such states came through the memory.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from atlas_ref.memory.state import MemoryState
from atlas_ref.models.atlas import ModelState


def empty_memory(state: ModelState, fresh: ModelState) -> ModelState:
    """Return `state` with the memories of `fresh`: the initial memory, and nothing written."""
    memories = iter([layer.memory.memory for layer in fresh.layers])
    return _with_memories(state, lambda memory: replace(next(memories), position=memory.position))


def random_memory(state: ModelState, generator: torch.Generator) -> ModelState:
    """Return `state` with Gaussian memories, each matrix and vector as long as the one that it replaces.

    The anchor is a former memory: it has the directions of the new one.
    """

    def redraw(memory: MemoryState) -> MemoryState:
        weights = [_noise(matrix, generator) for matrix in memory.weights]
        return replace(
            memory,
            weights=tuple(_scaled(x, old, (-2, -1)) for x, old in zip(weights, memory.weights, strict=True)),
            momentum=tuple(_scaled(_noise(old, generator), old, (-2, -1)) for old in memory.momentum),
            anchor=tuple(_scaled(x, old, (-2, -1)) for x, old in zip(weights, memory.anchor, strict=True)),
            window_keys=_scaled(_noise(memory.window_keys, generator), memory.window_keys, (-1,)),
            window_values=_scaled(_noise(memory.window_values, generator), memory.window_values, (-1,)),
        )

    return _with_memories(state, redraw)


def _with_memories(state: ModelState, change: Callable[[MemoryState], MemoryState]) -> ModelState:
    layers = (
        replace(layer, memory=replace(layer.memory, memory=change(layer.memory.memory))) for layer in state.layers
    )
    return ModelState(tuple(layers))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw on the CPU, so that every device sees the same numbers."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def _scaled(noise: Tensor, old: Tensor, over: tuple[int, ...]) -> Tensor:
    """Return noise with the norm of `old` over the axes `over`; zero where that is zero."""
    norm, found = (torch.linalg.vector_norm(x, dim=over, keepdim=True) for x in (old, noise))
    scaled: Tensor = noise * (norm / found.clamp(min=1e-30))
    return scaled

"""States whose memory holds something else than what was written, while everything around it stays.

Only the fast weights, their momentum, their anchor and the Omega window are replaced. The caches of attention, the tail
of the convolution, the Q-K projection and the position stay those of the real context, so that whatever differs between
two such states came through the memory.
"""

from dataclasses import replace

import torch
from torch import Tensor

from atlas_ref.memory.contents import Memory, with_memories
from atlas_ref.memory.state import Held, MemoryState, StateTree, Tree


def empty_memory(state: Tree, fresh: Tree) -> Tree:
    """Return `state` with the memories of `fresh`: the initial memory, and nothing written."""
    memories = iter(_memories(fresh))

    def emptied(memory: Memory) -> Memory:
        first = next(memories)
        if isinstance(first, MemoryState) and isinstance(memory, MemoryState):
            return replace(first, position=memory.position)
        return first

    return with_memories(state, emptied)


def random_memory(state: Tree, generator: torch.Generator) -> Tree:
    """Return `state` with Gaussian memories, each matrix and vector as long as the one that it replaces.

    The anchor is a former memory, where there is one: it has the directions of the new one. A second moment is one of
    random keys.
    """

    def redraw(memory: Memory) -> Memory:
        weights = [_noise(matrix, generator) for matrix in memory.weights]
        if _has_moments(memory):
            weights[1] = weights[1] @ weights[1].mT
        redrawn = tuple(_scaled(x, old, (-2, -1)) for x, old in zip(weights, memory.weights, strict=True))
        if isinstance(memory, Held):
            return Held(redrawn)
        return replace(
            memory,
            weights=redrawn,
            momentum=tuple(_scaled(_noise(old, generator), old, (-2, -1)) for old in memory.momentum),
            anchor=tuple(_scaled(x, old, (-2, -1)) for x, old in zip(weights, memory.anchor, strict=False)),
            window_keys=_scaled(_noise(memory.window_keys, generator), memory.window_keys, (-1,)),
            window_values=_scaled(_noise(memory.window_values, generator), memory.window_values, (-1,)),
        )

    return with_memories(state, redraw)


def _has_moments(memory: Memory) -> bool:
    """Return whether a memory is the two moments of `ridge`, of which the second has no negative direction."""
    if isinstance(memory, MemoryState):
        return not memory.momentum
    return len(memory.weights) == 2 and memory.weights[1].shape[-1] == memory.weights[1].shape[-2]


def _memories(state: StateTree) -> list[Memory]:
    """Return every memory in a state."""
    found: list[Memory] = []

    def keep(memory: Memory) -> Memory:
        found.append(memory)
        return memory

    with_memories(state, keep)
    return found


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw on the CPU, so that every device sees the same numbers."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def _scaled(noise: Tensor, old: Tensor, over: tuple[int, ...]) -> Tensor:
    """Return noise with the norm of `old` over the axes `over`; zero where that is zero."""
    norm, found = (torch.linalg.vector_norm(x, dim=over, keepdim=True) for x in (old, noise))
    scaled: Tensor = noise * (norm / found.clamp(min=1e-30))
    return scaled

"""What the memories in a state hold, whatever stands around them: changed as a whole, in a state of any family."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch

from atlas_ref.memory.state import Held, MemoryState, StateTree, Tree

Memory = MemoryState | Held
"""What is written, and what a block still asks of an earlier moment of it."""


def with_memories(state: Tree, change: Callable[[Memory], Memory]) -> Tree:
    """Return a state of any family with every memory in it changed, in the order of its fields."""

    def visit(node: Any) -> Any:
        if isinstance(node, MemoryState | Held):
            return change(node)
        if isinstance(node, tuple):
            return tuple(visit(part) for part in node)
        if isinstance(node, StateTree):
            return replace(node, **{field.name: visit(getattr(node, field.name)) for field in fields(node)})
        return node

    changed: Tree = visit(state)
    return changed


def zeroed(state: Tree) -> Tree:
    """Return a state whose memories hold zeros: weights, momentum, anchor and window; positions and all else stay."""
    return with_memories(state, lambda memory: memory.map(_zero))


def _zero(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor) if tensor.is_floating_point() else tensor

"""Which memory branch a configuration names: a single memory, or a hierarchy."""

from collections.abc import Callable
from typing import Any

from atlas_ref.blocks.hierarchical_layer import HierarchicalLayer
from atlas_ref.blocks.memory_branch import MemoryBranch
from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.memory.kernels.choice import Kernels

BRANCHES: dict[str, Callable[..., MemoryBranch[Any]]] = {"single": MemoryLayer, "hierarchical": HierarchicalLayer}


def memory_branch(
    d_model: int, n_heads: int, config: MemoryConfig, writes: bool = True, kernels: Kernels = "auto"
) -> MemoryBranch[Any]:
    """Return the branch of `config.kind`, run by `kernels`; without `writes` it reads what it starts from for ever."""
    return BRANCHES[config.kind](d_model, n_heads, config, writes, kernels)

"""Which memory branch a configuration names: a single memory, or a hierarchy."""

from typing import Any

from atlas_ref.blocks.hierarchical_layer import HierarchicalLayer
from atlas_ref.blocks.memory_branch import MemoryBranch
from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.config.memory import MemoryConfig

BRANCHES: dict[str, type[MemoryBranch[Any]]] = {"single": MemoryLayer, "hierarchical": HierarchicalLayer}


def memory_branch(d_model: int, n_heads: int, config: MemoryConfig, writes: bool = True) -> MemoryBranch[Any]:
    """Return the branch of `config.kind`; without `writes` it reads what it starts from for ever."""
    return BRANCHES[config.kind](d_model, n_heads, config, writes)

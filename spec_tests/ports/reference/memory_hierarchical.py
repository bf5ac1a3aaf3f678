"""The hierarchy of memories, by the reference, with shards side by side."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.hierarchical import HierarchicalState, Hierarchy, hierarchical_chunked
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import MemoryState
from spec_tests.port import Op
from spec_tests.ports.reference.memory import pack, unpack
from spec_tests.ports.reference.tensors import Config, Function, Tensors

GATES: Final = ("retention", "momentum_decay", "step_size", "window_weights")
MATRICES: Final = ("weights", "momentum", "anchor")


def _hierarchy(config: Config, chunks: list[int], shards: list[int]) -> Hierarchy:
    keys = {key: value for key, value in config.items() if key not in ("rule", "projection_span")}
    rules = tuple(
        MemoryRule(name=config["rule"], chunk=chunk, read="post" if m else "anchor", **keys)
        for m, chunk in enumerate(chunks)
    )
    return Hierarchy(rules, tuple(shards), config["projection_span"])


def _state(matrices: partial[tuple[Tensor, ...]], x: Tensors, shards: list[int]) -> HierarchicalState:
    """Return the state; a local memory counts from the start of its shard."""
    position, memories = x["position"], []
    for m, shard in enumerate(shards):
        own = torch.where(position > 0, (position - 1) % shard + 1, 0) if shard else position
        weights, momentum, anchor = (matrices(x[name][:, m]) for name in MATRICES)
        memories.append(MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], own))
    return HierarchicalState(tuple(memories), x["carry"].unbind(1), position)


def _memory_hierarchical(config: Config, x: Tensors) -> Tensors:
    keys, values, queries = (at_least_float32(x[name]) for name in ("keys", "values", "queries"))
    matrices = partial(unpack, config["architecture"], features=keys.shape[-1], values=values.shape[-1])
    chunks, shards = (x[name].tolist() for name in ("chunks", "shards"))
    gates = [Gates(*(x[name][:, :, m] for name in GATES)) for m in range(len(chunks))]
    hierarchy, state = _hierarchy(config, chunks, shards), _state(matrices, x, shards)
    initial = [matrices(start) for start in x["initial"]]
    found = hierarchical_chunked(hierarchy, keys, values, queries, gates, initial, state, x["reset"].bool())
    memories = found.state.memories
    return {
        "reads": found.reads.to(x["values"].dtype),
        **{name: torch.stack([pack(getattr(memory, name)) for memory in memories], 1) for name in MATRICES},
        "carry": torch.stack(found.state.projections, 1),
        "window_keys": memories[0].window_keys,
        "window_values": memories[0].window_values,
        "position": found.state.position,
    }


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_HIERARCHICAL: _memory_hierarchical}

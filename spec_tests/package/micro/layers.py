"""A memory layer small enough to follow token by token, and hidden states for it."""

import torch
from torch import Tensor, nn

from atlas_ref.blocks.memory_branch import MemoryLayerOutput
from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.timeline import make_timeline
from spec_tests.package.micro.runs import micro_config

TIME = 20


LAYER = ("model.d_model=16", "model.memory.key_dim=4", "model.memory.value_dim=8", "model.memory.chunk=4")


SHARDS = ("model.memory.shards.length=8", "model.memory.shards.warmup_crossings=2")


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_layer(*overrides: str) -> MemoryLayer:
    """Return a memory layer in float64 whose gates depend on tokens."""
    config = micro_config(*LAYER, *overrides).model
    layer = MemoryLayer(config.d_model, config.n_heads, config.memory).double()
    layer.initialise(torch.Generator().manual_seed(1), 0.3)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.add_(0.2 * drawn(*parameter.shape, seed=20 + number))
    return layer


def single(branch: nn.Module) -> MemoryLayer:
    """Return the branch of a block, which has a single memory."""
    assert isinstance(branch, MemoryLayer)
    return branch


def remember(layer: MemoryLayer, hidden: Tensor, reset: Tensor | None = None, writes: bool = True) -> MemoryLayerOutput:
    """Run a layer from a fresh state."""
    state = layer.initial_state(len(hidden))
    timeline = make_timeline(layer.config, state.context, state.memory.position, reset, hidden.shape[1])
    output: MemoryLayerOutput = layer(hidden, state, timeline, writes)
    return output

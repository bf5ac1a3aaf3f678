"""A model as several processes hold it: a copy each (DistributedDataParallel), or parameters in shards (FSDP2).

Both average gradients over the processes. The loss of a process is therefore its share of the global loss times the
number of processes: the average is then the gradient of the global loss, the same as in one process.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from atlas_ref.models.atlas import AtlasModel, Layer, ModelOutput, ModelState
from atlas_ref.training.distributed import World


class Replica(nn.Module):
    """What DistributedDataParallel wraps: it waits for a gradient of every parameter that any output depends on, so
    the state, which is handed on without its history, has to lose it inside."""

    def __init__(self, model: AtlasModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, state: ModelState, reset: Tensor, outer_step: int | None) -> ModelOutput:
        """Return what the model returns, with a detached state."""
        output: ModelOutput = self.model(tokens, state, reset, outer_step)
        return output._replace(state=output.state.detach())


def wrap(model: AtlasModel, world: World, parallel: Literal["ddp", "fsdp"], device: torch.device) -> nn.Module:
    """Return the module to train `model` through; FSDP2 shards the parameters of `model` itself, layer by layer.

    The optimiser must be built afterwards. One process trains the model as it is.
    """
    if world.size == 1:
        return model
    if parallel == "ddp":
        return DistributedDataParallel(
            Replica(model), device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
        )
    mesh = world.mesh(device)
    for layer in model.layers:
        if isinstance(layer, Layer):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def bare(network: nn.Module) -> nn.Module:
    """Return the model inside what `wrap` returned."""
    if isinstance(network, DistributedDataParallel) and isinstance(network.module, Replica):
        return network.module.model
    return network


def without_sync(network: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Return the context of one micro-batch: copies exchange gradients in the last alone.

    Shards exchange them in each: whole gradients kept between micro-batches are the memory that shards are there to
    save.
    """
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()


def is_sharded(model: nn.Module) -> bool:
    """Return whether the parameters are held in shards."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor put together from its shards; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def fresh_state(model: AtlasModel, rows: int, device: torch.device) -> ModelState:
    """Return a state of `rows` rows before their first token.

    The parameters of a sharded model are not at hand. Zeros of the right shape serve as well: a row without a token
    behind it begins afresh inside the forward pass, from the M_0 that is gathered there.
    """
    if not is_sharded(model):
        return model.initial_state(rows)
    with torch.device("meta"):
        shape = AtlasModel(model.config, seed=0).initial_state(rows)
    return shape.map(lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device))


def across(tensors: Mapping[str, Tensor], world: World, device: torch.device) -> dict[str, Tensor]:
    """Return tensors that each process holds the rows of as one tensor each, whose first axis is cut by rank."""
    if world.size == 1:
        return dict(tensors)
    mesh = world.mesh(device)
    return {
        name: DTensor.from_local(tensor.contiguous(), mesh, [Shard(0)], run_check=False)
        for name, tensor in tensors.items()
    }

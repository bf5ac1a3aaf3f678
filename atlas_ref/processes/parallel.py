"""A model as several processes hold it: a copy each (DistributedDataParallel), or parameters in shards (FSDP2).

Both average gradients over the processes. The loss of a process is therefore its share of the global loss times the
number of processes: the average is then the gradient of the global loss, the same as in one process.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DistributedDataParallel

from atlas_ref.functional.largest import largest_entries
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model, Output
from atlas_ref.models.registry import build_model
from atlas_ref.processes.distributed import World

if TYPE_CHECKING:
    # It takes most of a second to import, which a command in one process need not wait for.
    from torch.distributed.tensor import DTensor


class Replica(nn.Module):
    """What DistributedDataParallel wraps: it waits for a gradient of every parameter that any output depends on, so
    the state, which is handed on without its history, has to lose it inside."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, tokens: Tensor, state: StateTree, reset: Tensor, outer_step: int | None, penalised: bool
    ) -> Output:
        """Return what the model returns, with a detached state."""
        output: Output = self.model(tokens, state, reset, outer_step, penalised)
        detached: Output = output._replace(state=output.state.detach())
        return detached


class _Leave(torch.autograd.Function):
    """The identity, whose backward pass tells that the gradient has left a layer through its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tell: Callable[[], None]) -> Tensor:
        """Return x."""
        ctx.tell = tell
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Tell, and hand the gradient on."""
        ctx.tell()
        return (*gradients, None)


class Shards(nn.Module):
    """A model whose parameters FSDP2 holds in shards, layer by layer.

    FSDP2 puts the gradients that a layer has into one message, and breaks when another process has others. Here that is
    normal: the initial memory has a gradient only where a row begins. So each layer gives zeros for what it has not
    used (`drop_zero_gradients` takes away what is zero in all processes).
    """

    def __init__(self, model: Model, mesh: DeviceMesh) -> None:
        super().__init__()
        from torch.distributed.fsdp import fully_shard

        self.model = model
        for layer in model.parts():
            fully_shard(layer, mesh=mesh)
            layer.register_forward_pre_hook(_fill_on_leaving)
        fully_shard(model, mesh=mesh)

    def forward(
        self, tokens: Tensor, state: StateTree, reset: Tensor, outer_step: int | None, penalised: bool
    ) -> Output:
        """Return what the model returns."""
        with warnings.catch_warnings():
            # It warns of changing an output in place, which nothing here does.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            output: Output = self.model(tokens, state, reset, outer_step, penalised)
        return output


def _fill_on_leaving(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill the gradients that a layer lacks with zeros before FSDP2 sends them: a hook on its forward pass."""

    def fill() -> None:
        for parameter in layer.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    leave: Callable[..., Tensor] = _Leave.apply
    return (leave(inputs[0], fill), *inputs[1:])


def wrap(model: Model, world: World, parallel: Literal["ddp", "fsdp"], device: torch.device) -> nn.Module:
    """Return the module to train `model` through; FSDP2 shards the parameters of `model` itself, layer by layer.

    The optimiser must be built afterwards. One process trains the model as it is.
    """
    if world.size == 1:
        return model
    if parallel == "ddp":
        return DistributedDataParallel(
            Replica(model), device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
        )
    return Shards(model, world.mesh(device))


def bare(network: nn.Module) -> nn.Module:
    """Return the model inside what `wrap` returned."""
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    return inner.model if isinstance(inner, Replica | Shards) else inner


def without_sync(network: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Return the context of one micro-batch: copies exchange gradients in the last alone.

    Shards exchange them in each: whole gradients kept between micro-batches are the memory that shards are there to
    save.
    """
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()


def drop_zero_gradients(
    parameters: Iterable[nn.Parameter], world: World, largest: Float[Tensor, " gradients"] | None = None
) -> None:
    """Take away every gradient that is zero throughout, so that the optimiser leaves its parameter alone.

    `largest` is the largest entry of each that this process holds, where that is known.

    Whether an unused parameter has no gradient or zeros depends on how a batch is cut (rows out of step go through
    masks, rows in step do not), and AdamW moves a parameter with a gradient of zero by its momentum and its decay.
    """
    held = [parameter for parameter in parameters if parameter.grad is not None]
    if largest is None:
        largest = largest_entries([own_part(parameter.grad) for parameter in held if parameter.grad is not None])
    # NaN is not zero.
    used = largest != 0.0
    used = used if world.size == 1 else world.gather(used.double()).amax(0)
    for parameter, flag in zip(held, used.tolist(), strict=True):
        if not flag:
            parameter.grad = None


def is_sharded(model: nn.Module) -> bool:
    """Return whether the parameters are held in shards."""
    return any(is_shard(parameter) for parameter in model.parameters())


def is_shard(tensor: object) -> "TypeGuard[DTensor]":
    """Return whether something is a tensor of which several processes hold parts."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor put together from its shards; every process must ask for it."""
    return tensor.full_tensor() if is_shard(tensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return tensor.to_local() if is_shard(tensor) else tensor


def fresh_state(model: Model, rows: int, device: torch.device) -> StateTree:
    """Return a state of `rows` rows before their first token.

    The parameters of a sharded model are not at hand. Zeros of the right shape serve as well: a row without a token
    behind it begins afresh inside the forward pass, from the M_0 that is gathered there.
    """
    if not is_sharded(model):
        state: StateTree = model.initial_state(rows)
        return state
    with torch.device("meta"):
        shape: StateTree = build_model(model.config, seed=0).initial_state(rows)
    return shape.map(lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device))


def across(tensors: Mapping[str, Tensor], world: World, device: torch.device) -> dict[str, Tensor]:
    """Return tensors that each process holds the rows of as one tensor each, whose first axis is cut by rank.

    They are copies: layers may hold one count of tokens together, which is written once for each of them.
    """
    if world.size == 1:
        return dict(tensors)
    from torch.distributed.tensor import DTensor, Shard

    mesh = world.mesh(device)
    own = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return {name: DTensor.from_local(tensor, mesh, [Shard(0)], run_check=False) for name, tensor in own.items()}

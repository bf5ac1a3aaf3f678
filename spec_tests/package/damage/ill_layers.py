"""Layers that are ill: what is done to one in a run so that a kill switch has something to see."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from atlas_ref.blocks.mag import MagBlock
from atlas_ref.models.atlas import Layer
from atlas_ref.training.run import Run
from spec_tests.package.micro.layers import single
from spec_tests.package.micro.models import as_atlas

TANH = ("model.memory.qk_projection.kind='frobenius_tanh'", "model.memory.qk_projection.gain=5.0")
# With one step of the quintic polynomial a matrix that is too large grows, and does not overflow.
SCHULZ = ("model.memory.rule='atlas'", "model.memory.newton_schulz.steps=1", "data.sequence_length=8")


def block(run: Run, layer: int) -> MagBlock:
    """Return one block of the model in training."""
    found = as_atlas(run.model).layers[layer]
    assert isinstance(found, Layer)
    assert isinstance(found.block, MagBlock)
    return found.block


def closed(run: Run, layer: int) -> None:
    """Close the gate to the memory; the share of attention goes to one."""
    gate = block(run, layer).gate
    assert isinstance(gate, nn.Linear)
    gate.bias.data.fill_(9.0)


def swollen(run: Run, layer: int) -> None:
    """Make the values, and with them the momentum that Newton-Schulz starts from, large."""
    memory = block(run, layer).memory
    values = memory.projection.weight.data[-memory.n_heads * memory.value_dim :]
    values.mul_(30.0 / values.norm())


def barely_normalised(matrix: Tensor, *_: object) -> Tensor:
    """Stand in for the normalisation before Newton-Schulz: only matrices of a norm above 3 are touched."""
    norm: Tensor = torch.linalg.matrix_norm(matrix, keepdim=True)
    return matrix / (norm / 3.0).clamp(min=1.0)


SOURCE = ("model.gate.kind='source'", "model.gate.floor=0.3")
SHARDS = ("model.memory.shards.length=8", "model.memory.shards.warmup_crossings=1")


def linear(run: Run, layer: int) -> None:
    """Make the gain so small that every tanh gate is linear."""
    single(block(run, layer).memory).log_gain.data.fill_(-5.0)


def coma(run: Run, layer: int) -> None:
    """Make the gain so large that every tanh gate is saturated."""
    single(block(run, layer).memory).log_gain.data.fill_(9.0)


def shut(run: Run, layer: int) -> None:
    """Close the gate of `source`, whose floor keeps the memory in the output all the same."""

    def negative(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        del module, inputs
        return output.abs().neg() - 9.0

    block(run, layer).attention_norm.register_forward_hook(negative)


def confused(run: Run, layer: int) -> None:
    """Forget the vocabulary at every step, so that the loss stays high."""
    del layer
    weight = as_atlas(run.model).embedding.weight.data
    weight.copy_(3.0 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(run.step)))


def mixed(run: Run, layer: int) -> None:
    """Push the learned mixing rate to where a shard inherits everything."""
    single(block(run, layer).memory).alpha_logit.data.fill_(9.0)


class Fault(NamedTuple):
    """How a layer falls ill, what notices it, and what the config must be."""

    damage: Callable[[Run, int], None]
    switch: str
    metric: str
    overrides: tuple[str, ...]


FAULTS = {
    "linear gates": Fault(linear, "activation", "tanh_linear", TANH),
    "saturated gates": Fault(coma, "saturation", "tanh_saturated", TANH),
    "a closed gate": Fault(closed, "gate_collapse", "memory_share", ()),
    "a closed gate behind a floor": Fault(shut, "gate_collapse", "memory_share", SOURCE),
    "Newton-Schulz without normalisation": Fault(swollen, "newton_schulz", "newton_schulz_error", SCHULZ),
    "an extreme mixing rate": Fault(mixed, "alpha", "m3_alpha", SHARDS),
    "a loss that stays high": Fault(confused, "loss_spike", "loss", ("kill_switches.divergence_margin=1e6",)),
    "a loss that is high before there is a reference": Fault(
        confused, "divergence", "loss", ("kill_switches.loss_spike_window=1000",)
    ),
}

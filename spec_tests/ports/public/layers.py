"""One layer of each implementation that has one: [batch, time, width] in and out, its own projections, one matrix.

Chunks of 64 tokens where there are chunks, one head, no segment of attention. They do not compute one function: what is
compared is what a layer of each costs (`spec_tests.matrix.speed`).
"""

from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor, nn

CHUNK: Final = 64


class First(nn.Module):
    """A layer whose output comes with something else behind it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.layer(hidden)[0]
        return output


class Reference(nn.Module):
    """Norm, memory of this repository from a fresh state, output projection."""

    def __init__(self, width: int) -> None:
        from atlas_ref.blocks.memory_layer import MemoryLayer
        from atlas_ref.config import load_config

        super().__init__()
        fields = [f"key_dim={width}", f"value_dim={width}", f"chunk={CHUNK}", "rule=titans", "omega_window=1"]
        shape = [
            f"model.d_model={width}",
            "model.n_heads=1",
            "model.memory.features.degree=1",
            "model.memory.gates.fast_heads=0",
        ]
        config = load_config("tiny", [*(f"model.memory.{field}" for field in fields), *shape]).model.memory
        self.norm, self.memory = nn.RMSNorm(width), MemoryLayer(width, 1, config)
        self.output = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            for matrix in self.memory.initial:
                matrix.normal_(std=config.initial_std)

    def forward(self, hidden: Tensor) -> Tensor:
        from atlas_ref.blocks.timeline import make_timeline

        state = self.memory.initial_state(hidden.shape[0])
        timeline = make_timeline(self.memory.config, state.context, state.memory.position, None, hidden.shape[1])
        output: Tensor = self.output(self.memory(self.norm(hidden), state, timeline).reads)
        return output


def titans_pytorch(width: int) -> nn.Module:
    """Return `NeuralMemory` of titans-pytorch."""
    package: Any = import_module("titans_pytorch")
    return First(package.NeuralMemory(width, chunk_size=CHUNK, model=package.MemoryMLP(width, depth=1)))


def titans_unofficial(width: int) -> nn.Module:
    """Return `NeuralMemoryModule` of titans-unofficial, which goes token by token."""
    return First(import_module("titans.utils.memory").NeuralMemoryModule(width, memory_depth=1))


def titans_memory(width: int) -> nn.Module:
    """Return `NeuralMemory` of titans-memory."""
    layer: nn.Module = import_module("titans.memory.neural_memory").NeuralMemory(width, n_layers=1, chunk_size=CHUNK)
    return layer


def titans_trainer(width: int) -> nn.Module:
    """Return `NeuralMemory` of titans-trainer."""
    return First(import_module("titans_trainer.memory").NeuralMemory(width, memory_depth=1, chunk_size=CHUNK))

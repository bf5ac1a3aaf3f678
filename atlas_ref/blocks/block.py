"""What every block is to the model: hidden states and a state go in, both come out, with what is worth telling.

    hidden', state', telemetry, indecision = block(hidden, state, ...)

A block joins a test-time memory with attention in one of the ways of Titans (2501.00663 Section 4), or has the memory
alone; `registry` knows them all. Each adds to the residual stream, and each owns parameters and no state.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.branches import memory_branch
from atlas_ref.blocks.memory_branch import MemoryLayerOutput, MemoryLayerState
from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.phase import Phase, phase_at
from atlas_ref.blocks.polarisation import indecision
from atlas_ref.blocks.telemetry import Gate, LayerTelemetry, summarise
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.state import StateTree


@dataclass(frozen=True)
class BlockState(StateTree):
    """What every block carries from call to call: its memory branch; a block with attention carries more."""

    memory: MemoryLayerState[Any]


class BlockOutput(NamedTuple):
    """Hidden states, the state after the call, and where asked for telemetry and how undecided the gates are."""

    hidden: Float[Tensor, "batch time model"]
    state: Any
    telemetry: LayerTelemetry | None
    indecision: Float[Tensor, ""] | None


class Block(nn.Module):
    """What blocks share: a norm before everything, a memory whose reads may be constants, and the way out."""

    def __init__(self, config: ModelConfig, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.kernels = config.kernels
        self.width = config.n_heads * config.memory.value_dim
        self.final, self.detached = phase_at(config, None), config.inner_grad == "detached"
        self.persistent_in_memory = config.attention.persistent_in_memory
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        if attention is not None:
            self.attention = attention
        writes = not config.disable_memory
        self.memory = memory_branch(config.d_model, config.n_heads, config.memory, writes, config.kernels)

    def initialise(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights; what adds to the residual stream at every layer is smaller."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> Any:
        """Return the state of `batch` rows before their first token, a `BlockState`."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        state: Any,
        timeline: Timeline,
        phase: Phase | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> BlockOutput:
        """Return x plus what the block adds; without a phase, that of the end of all schedules.

        `penalised` asks for the indecision of the gates, with its graph (`blocks.polarisation`), `measured` telemetry.
        """
        raise NotImplementedError

    def remember(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MemoryLayerState[Any],
        timeline: Timeline,
        writes: bool,
        measured: bool,
        gating: Float[Tensor, "batch time model"] | None = None,
    ) -> MemoryLayerOutput:
        """Return what the memory reads; detached, nothing that this was computed from learns through it.

        `gating` are the hidden states again, for the gates of the memory, where each use of a norm is one of its own.
        """
        with self.outer_graph():
            first = self._first() if writes else None
            remembered: MemoryLayerOutput = self.memory(hidden, state, timeline, writes, first, measured, gating)
        return remembered

    def _first(self) -> Weights | None:
        """Return what documents start from where persistent tokens are written before each; None: M_0.

        They are a document of their own (decision `persistent-tokens`): what they leave in M is handed on, and no
        momentum, window or convolution of theirs.
        """
        if not self.persistent_in_memory or not self.memory.writes:
            return None
        assert isinstance(self.memory, MemoryLayer)
        persistent = self.attention.persistent
        assert isinstance(persistent, Tensor)
        return self.memory.after(persistent)

    def outer_graph(self) -> AbstractContextManager[object]:
        """Return the context in which reads are made: where they are constants of the outer graph, without one."""
        return torch.no_grad() if self.detached else nullcontext()

    def tell(
        self,
        state: MemoryLayerState[Any],
        remembered: MemoryLayerOutput,
        raw: Float[Tensor, "batch time width"] | None,
        floor: float | Float[Tensor, "batch time 1"],
        penalised: bool,
        measured: bool,
    ) -> tuple[LayerTelemetry | None, Tensor | None]:
        """Return telemetry and indecision where they are asked for; `raw` are the gates below the floor, if any.

        `state` is that of the memory before the call.
        """
        undecided = indecision(raw) if penalised and raw is not None else None
        if not measured:
            return None, undecided
        gate = None if raw is None else Gate(raw.detach(), floor)
        return summarise(self.memory, state, remembered, gate), undecided

"""The MAG block: sliding-window attention beside a test-time memory (Titans 2501.00663 Section 4.2).

    h = norm(x)
    attention = SWA(h) with persistent tokens          memory = reads of the test-time memory on h
    `source`:  y = g(sigmoid(norm(attention))) * norm(memory)                        (the source diagram)
    `convex`:  y = g * norm(attention) + (1 - g) * norm(memory),  g = floor + (1 - floor) sigmoid(W h)
    out = x + W_o y

With `floor` the gate is floor + (1 - floor) sigmoid(.), never max(gate, floor), which has no gradient below the floor.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.memory_layer import MemoryLayer, MemoryLayerState
from atlas_ref.blocks.phase import Phase, phase_at
from atlas_ref.blocks.polarisation import indecision
from atlas_ref.blocks.telemetry import Gate, LayerTelemetry, summarise
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.mag_gate import Gated, mag_gate
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.rotary import rotate
from atlas_ref.functional.window import recent
from atlas_ref.memory.state import StateTree
from atlas_ref.optim.qk_clip import largest_in_sight


@dataclass(frozen=True)
class LayerState(StateTree):
    """What one block carries from call to call: its memory branch and the last window - 1 keys and values."""

    memory: MemoryLayerState
    cache_keys: Float[Tensor, "batch past heads dim"]
    cache_values: Float[Tensor, "batch past heads dim"]


class BlockOutput(NamedTuple):
    """Hidden states, the state after the call, and where asked for telemetry and how undecided the gates are."""

    hidden: Float[Tensor, "batch time model"]
    state: LayerState
    telemetry: LayerTelemetry | None
    indecision: Float[Tensor, ""] | None


class SlidingWindowAttention(nn.Module):
    """Multi-head attention over a window, with rotary positions and learned persistent tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.window = config.n_heads, config.attention.window
        self.head_dim = config.d_model // config.n_heads
        self.rope_base = config.attention.rope_base
        self.projection = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.persistent = nn.Parameter(torch.empty(config.attention.persistent_tokens, config.d_model))

    def initial_cache(self, batch: int) -> Tensor:
        """Return the empty key or value cache of `batch` rows."""
        return at_least_float32(self.persistent).new_zeros(batch, self.window - 1, self.n_heads, self.head_dim)

    def forward(
        self, hidden: Float[Tensor, "batch time model"], state: LayerState, timeline: Timeline
    ) -> tuple[Float[Tensor, "batch time model"], Tensor, Tensor]:
        """Return (output, key cache, value cache); tokens of other contexts are never seen."""
        queries, keys, values = self._project(hidden)
        # Persistent tokens have no position: they pass through the same projections and are not rotated.
        _, persistent_keys, persistent_values = self._project(self.persistent.unsqueeze(0))
        # Both at once: the angles are the same.
        queries, keys = rotate(torch.cat([queries, keys], 2), timeline.context, self.rope_base).chunk(2, 2)
        output, cache_keys, cache_values = sliding_window_attention(
            queries,
            keys,
            values,
            persistent_keys[0],
            persistent_values[0],
            state.cache_keys,
            state.cache_values,
            timeline.context,
            self.window,
        )
        seen = timeline.seen(state.memory.context)
        wide = (at_least_float32(cache) for cache in (cache_keys, cache_values))
        cache_keys, cache_values = recent(seen, self.window - 1, *wide)
        return output.flatten(-2), cache_keys, cache_values

    def largest_logits(
        self, hidden: Float[Tensor, "batch time model"], state: LayerState, timeline: Timeline
    ) -> Float[Tensor, " heads"]:
        """Return the largest logit of each head over the pairs in sight, of the call that `forward` gets."""
        queries, keys, _ = (at_least_float32(part) for part in self._project(hidden))
        queries, keys = rotate(torch.cat([queries, keys], 2), timeline.context, self.rope_base).chunk(2, 2)
        persistent = at_least_float32(self._project(self.persistent.unsqueeze(0))[1][0])
        return largest_in_sight(queries, keys, persistent, state.cache_keys, timeline.context)

    def _project(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        projected: Tensor = self.projection(hidden)
        queries, keys, values = torch.unflatten(projected, -1, (3, self.n_heads, self.head_dim)).unbind(-3)
        return queries, keys, values


class MagBlock(nn.Module):
    """Attention and memory side by side on the same normalised input, joined by a gate (module docstring)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.n_heads * config.memory.value_dim
        self.kind, self.final = config.gate.kind, phase_at(config, None)
        self.detached = config.inner_grad == "detached"
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.attention = SlidingWindowAttention(config)
        self.memory = MemoryLayer(config.d_model, config.n_heads, config.memory, writes=not config.disable_memory)
        self.attention_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.memory_norm = nn.RMSNorm(width, config.norm_eps)
        if self.kind == "convex":
            self.gate = nn.Linear(config.d_model, width)
        self.output = nn.Linear(width, config.d_model, bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights; the output projection is smaller, as it adds to the residual stream at every layer."""
        self.attention.projection.weight.normal_(std=std, generator=generator)
        self.attention.persistent.normal_(std=std, generator=generator)
        self.memory.initialise(generator, std)
        self.output.weight.normal_(std=residual_std, generator=generator)
        if self.kind == "convex":
            self.gate.weight.normal_(std=std, generator=generator)
            self.gate.bias.zero_()

    def initial_state(self, batch: int) -> LayerState:
        """Return the state of `batch` rows before their first token."""
        cache = self.attention.initial_cache(batch)
        return LayerState(self.memory.initial_state(batch), cache, cache)

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        state: LayerState,
        timeline: Timeline,
        phase: Phase | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> BlockOutput:
        """Return x plus the gated join of attention and memory; without a phase, that of the end of all schedules.

        `penalised` asks for the indecision of the gates, with its graph (`blocks.polarisation`), `measured` telemetry.
        """
        phase = phase or self.final
        hidden: Tensor = self.norm(x)
        attended, cache_keys, cache_values = self.attention(hidden, state, timeline)
        # Detached: the memory is an input to the outer graph, so nothing that it was computed from learns through it.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detached):
            remembered = self.memory(hidden, state.memory, timeline, phase.writes)
        gated = self._join(hidden, attended.to(hidden.dtype), remembered.reads.to(hidden.dtype), phase.gate_floor)
        y: Tensor = self.output(gated.joined)
        after = LayerState(remembered.state, cache_keys, cache_values)
        telemetry = None
        if measured:
            gate = Gate(gated.raw.detach(), phase.gate_floor)
            telemetry = summarise(self.memory, state.memory.memory.weights, remembered, gate)
        return BlockOutput(x + y, after, telemetry, indecision(gated.raw) if penalised else None)

    def _join(self, hidden: Tensor, attended: Tensor, reads: Tensor, floor: float) -> Gated:
        """Return the gated join and its gates."""
        attention: Tensor = self.attention_norm(attended)
        memory: Tensor = self.memory_norm(reads)
        logits: Tensor | None = self.gate(hidden) if self.kind == "convex" else None
        return mag_gate(attention, memory, logits, floor)

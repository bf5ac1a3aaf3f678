"""The MAG block: sliding-window attention beside a test-time memory (Titans 2501.00663 Section 4.2).

    h = norm(x)
    attention = SWA(h) with persistent tokens          memory = reads of the test-time memory on h
    out = x + W_o y,        y the join of norm(attention) and norm(memory) by a gate (`functional.mag_gate`)

The logits of the gates `convex` and `convex_memory` are W h + b.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.blocks.attention import AttentionState, SlidingWindowAttention
from atlas_ref.blocks.block import BlockOutput
from atlas_ref.blocks.joined import JoinedBlock
from atlas_ref.blocks.passes import added, normed
from atlas_ref.blocks.phase import Phase
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.model import ModelConfig


class MagBlock(JoinedBlock):
    """Attention and memory side by side on the same normalised input, joined by a gate (module docstring)."""

    attention: SlidingWindowAttention

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, SlidingWindowAttention(config))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights; the output projection is smaller, as it adds to the residual stream at every layer."""
        self.attention.initialise(generator, std)
        self.memory.initialise(generator, std)
        self.initialise_join(generator, std, residual_std)

    def initial_state(self, batch: int) -> AttentionState:
        """Return the state of `batch` rows before their first token."""
        cache = self.attention.initial_cache(batch)
        return AttentionState(self.memory.initial_state(batch), cache, cache)

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        state: AttentionState,
        timeline: Timeline,
        phase: Phase | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> BlockOutput:
        """Return x plus the gated join of attention and memory (`Block.forward`)."""
        phase = phase or self.final
        floor = timeline.gate_floor(phase.gate_floor)
        x, hidden, written, told, gating = normed(self.norm, x, self.kernels, uses=4)
        attended, cache_keys, cache_values = self.attention(hidden, state, timeline, drop=phase.drops.attention)
        remembered = self.remember(written, state.memory, timeline, phase.writes, measured, told)
        gated = self.join(gating, attended, remembered.reads, floor, phase.drops.memory, penalised)
        x = added(x, self.output(gated.joined), phase.drops.residual, self.kernels)
        found = self.tell(state.memory, remembered, gated.raw, floor, penalised, measured)
        return BlockOutput(x, AttentionState(remembered.state, cache_keys, cache_values), *found)

"""The MAL block: the memory first, attention over what it returns (Titans 2501.00663 Section 4.3, Eq. 29-31).

    n = norm(x)
    z = W_m norm(memory(n))                        reads of the test-time memory, token by token
    out = x + W_o SWA(z), with persistent tokens

One after the other: attention sees nothing but reads. With `inner_residual` they are two sublayers (as in Samba, H3):

    z = x + W_m norm(memory(n)),        out = z + W_o SWA(norm'(z))

Never the sum of two branches side by side, which is another model.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.attention import AttentionState, SlidingWindowAttention
from atlas_ref.blocks.block import Block, BlockOutput
from atlas_ref.blocks.phase import Phase
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.dropout import dropped


class MalBlock(Block):
    """A memory and attention over its reads (module docstring)."""

    attention: SlidingWindowAttention

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, SlidingWindowAttention(config))
        self.inner_residual = config.mal.inner_residual
        self.memory_norm = nn.RMSNorm(self.width, config.norm_eps)
        self.memory_output = nn.Linear(self.width, config.d_model, bias=False)
        if self.inner_residual:
            self.inner_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights; what adds to the residual stream at every layer is smaller."""
        self.attention.initialise(generator, std)
        self.memory.initialise(generator, std)
        self.memory_output.weight.normal_(std=residual_std if self.inner_residual else std, generator=generator)
        self.output.weight.normal_(std=residual_std, generator=generator)

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
        """Return x plus attention over the reads of the memory (`Block.forward`); there is no gate to penalise."""
        phase = phase or self.final
        hidden: Tensor = self.norm(x)
        remembered = self.remember(hidden, state.memory, timeline, phase.writes, measured)
        reads = dropped(self.memory_norm(remembered.reads.to(hidden.dtype)), phase.drops.memory)
        seen: Tensor = self.memory_output(reads)
        if self.inner_residual:
            x = x + seen
            seen = self.inner_norm(x)
        attended, cache_keys, cache_values = self.attention(seen, state, timeline, drop=phase.drops.attention)
        y = dropped(self.output(attended.to(seen.dtype)), phase.drops.residual)
        told = self.tell(state.memory, remembered, None, phase.gate_floor, penalised, measured)
        return BlockOutput(x + y, AttentionState(remembered.state, cache_keys, cache_values), *told)

"""The LMM: the memory alone, with a linear gate on its way out (Titans 2501.00663 Section 4, `memory only`).

    n = norm(x)
    out = x + W_o (g * norm(memory(n))),        g = floor + (1 - floor) sigmoid(W_g n)

There is no attention, so nothing but the memory and its convolution knows of an earlier token.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.block import Block, BlockOutput, BlockState
from atlas_ref.blocks.phase import Phase
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.dropout import dropped
from atlas_ref.functional.mag_gate import mag_gate


class LmmBlock(Block):
    """A memory and the gate of its output (module docstring)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.memory_norm = nn.RMSNorm(self.width, config.norm_eps)
        self.gate = nn.Linear(config.d_model, self.width, bias=False)
        self.output = nn.Linear(self.width, config.d_model, bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights; what adds to the residual stream at every layer is smaller."""
        self.memory.initialise(generator, std)
        self.gate.weight.normal_(std=std, generator=generator)
        self.output.weight.normal_(std=residual_std, generator=generator)

    def initial_state(self, batch: int) -> BlockState:
        """Return the state of `batch` rows before their first token."""
        return BlockState(self.memory.initial_state(batch))

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        state: BlockState,
        timeline: Timeline,
        phase: Phase | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> BlockOutput:
        """Return x plus the gated reads of the memory (`Block.forward`)."""
        phase = phase or self.final
        floor = timeline.gate_floor(phase.gate_floor)
        hidden: Tensor = self.norm(x)
        remembered = self.remember(hidden, state.memory, timeline, phase.writes, measured)
        reads = dropped(self.memory_norm(remembered.reads.to(hidden.dtype)), phase.drops.memory)
        # The join `source` with logits of the token in the place of attention.
        gated = mag_gate("source", self.gate(hidden), reads, None, floor)
        y = dropped(self.output(gated.joined), phase.drops.residual)
        told = self.tell(state.memory, remembered, gated.raw, floor, penalised, measured)
        return BlockOutput(x + y, BlockState(remembered.state), *told)

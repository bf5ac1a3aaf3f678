"""What the blocks MAG and MAC share: the gated join of attention and memory, and the way back to the stream.

    y = join(norm(attention), norm(memory)),        out = x + W_o y

With `floor` the gate is floor + (1 - floor) sigmoid(.), never max(gate, floor), which has no gradient below the floor.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.attention import AttentionHeads
from atlas_ref.blocks.block import Block
from atlas_ref.blocks.kernels.choice import kernel_rows
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.dropout import Drop, dropped
from atlas_ref.functional.mag_gate import WITH_LOGITS, mag_gate
from atlas_ref.functional.normalize import at_least_float32, of_dtype


class Joined(NamedTuple):
    """The join, and the sigmoid below the floor of its gate; None where it has none."""

    joined: Float[Tensor, "batch time width"]
    raw: Float[Tensor, "batch time width"] | None


class JoinedBlock(Block):
    """A block in which attention and memory are joined by a gate (module docstring)."""

    def __init__(self, config: ModelConfig, attention: AttentionHeads) -> None:
        super().__init__(config, attention)
        self.kind, self.bias_init = config.gate.kind, config.gate.bias_init
        self.attention_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.memory_norm = nn.RMSNorm(self.width, config.norm_eps)
        if self.kind in WITH_LOGITS:
            self.gate = nn.Linear(config.d_model, self.width)
        self.output = nn.Linear(self.width, config.d_model, bias=False)

    @torch.no_grad()
    def initialise_join(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights of the gate and of the way out."""
        self.output.weight.normal_(std=residual_std, generator=generator)
        if self.kind in WITH_LOGITS:
            self.gate.weight.normal_(std=std, generator=generator)
            self.gate.bias.fill_(self.bias_init)

    def join(
        self,
        hidden: Float[Tensor, "batch time model"],
        attended: Float[Tensor, "batch time model"],
        reads: Float[Tensor, "batch time width"],
        floor: float | Float[Tensor, "batch time 1"],
        drop: Drop | None,
        penalised: bool,
    ) -> Joined:
        """Return the gated join and its gates; `drop` leaves some of the reads out.

        By kernels nothing is learned through the gates themselves, so they are as they are written where that is asked
        for (`penalised`).
        """
        logits: Tensor | None = self.gate(hidden) if self.kind in WITH_LOGITS else None
        rows = None if penalised or self.kind == "product" else kernel_rows(self.kernels, attended)
        if rows is not None:
            norms = (rows.Norm(norm.weight, norm.eps) for norm in (self.attention_norm, self.memory_norm))
            joined, raw = rows.joined(attended, reads, logits, tuple(norms), rows.Floored(self.kind, floor, drop))
            return Joined(joined, raw)
        wide = at_least_float32(hidden).dtype
        attention: Tensor = self.attention_norm(of_dtype(attended, wide))
        memory = dropped(self.memory_norm(of_dtype(reads, wide)), drop)
        gated = mag_gate(self.kind, attention, memory, logits, floor)
        return Joined(gated.joined, gated.raw)

"""A memory of this project as a contender, with the norm and the output projection that a block gives it."""

import torch
from torch import Tensor, nn

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.timeline import make_timeline
from atlas_ref.config import load_config
from benchmarks.contenders import CHUNK, HEAD_WIDTH, HEADS, WIDTH, Ours

SHAPE = (f"key_dim={HEAD_WIDTH}", f"value_dim={HEAD_WIDTH}", f"chunk={CHUNK}", "expansion=4", "features.degree=1")


class OurLayer(nn.Module):
    """Norm, memory from a fresh state, output projection."""

    def __init__(self, contender: Ours) -> None:
        super().__init__()
        fields = [f"model.memory.{field}" for field in (*SHAPE, *contender.overrides)]
        config = load_config("tiny", [*fields, f"model.d_model={WIDTH}"]).model.memory
        self.norm = nn.RMSNorm(WIDTH)
        self.memory = MemoryLayer(WIDTH, HEADS, config)
        self.output = nn.Linear(HEADS * HEAD_WIDTH, WIDTH, bias=False)
        with torch.no_grad():
            for matrix in self.memory.initial:
                matrix.normal_(std=config.initial_std)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the output for a sequence that starts here."""
        state = self.memory.initial_state(hidden.shape[0])
        timeline = make_timeline(self.memory.config, state.context, state.memory.position, None, hidden.shape[1])
        reads: Tensor = self.memory(self.norm(hidden), state, timeline).reads
        output: Tensor = self.output(reads)
        return output

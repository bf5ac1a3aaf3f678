"""A memory of titans-pytorch as a contender; its constructor brings norms and projections of its own."""

from titans_pytorch import MemoryMLP, NeuralMemory
from torch import Tensor, nn

from benchmarks.contenders import CHUNK, HEAD_WIDTH, HEADS, WIDTH, Peer


class PeerLayer(nn.Module):
    """NeuralMemory with a linear or a two-layer memory; expansion 4 is the library's default."""

    def __init__(self, contender: Peer) -> None:
        super().__init__()
        depth = 2 if contender.kind == "mlp" else 1
        self.memory = NeuralMemory(
            dim=WIDTH,
            heads=HEADS,
            dim_head=HEAD_WIDTH,
            chunk_size=CHUNK,
            batch_size=contender.batch_size,
            model=MemoryMLP(HEAD_WIDTH, depth=depth, expansion_factor=4.0),
            mem_model_norm_add_residual=contender.residual_norm,
            spectral_norm_surprises=contender.kind == "newton-schulz",
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the output for a sequence that starts here, without the library's state."""
        output: Tensor = self.memory(hidden)[0]
        return output

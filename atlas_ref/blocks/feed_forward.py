"""The SwiGLU feed-forward block: y = x + W_down (silu(W_gate h) * W_up h), h = norm(x) (2002.05202)."""

from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.passes import added, normed, swiglu
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.dropout import Drop
from atlas_ref.memory.kernels.choice import Kernels


class FeedForward(nn.Module):
    """Pre-norm SwiGLU with a residual."""

    def __init__(self, config: ModelConfig | CognateConfig) -> None:
        super().__init__()
        self.kernels: Kernels = config.kernels if isinstance(config, ModelConfig) else "reference"
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.up = nn.Linear(config.d_model, 2 * config.feed_forward_dim, bias=False)
        self.output = nn.Linear(config.feed_forward_dim, config.d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time model"], drop: Drop | None = None
    ) -> Float[Tensor, "batch time model"]:
        """Return x plus the feed-forward of its norm, of which `drop` leaves some out; every token alone."""
        x, hidden = normed(self.norm, x, self.kernels)
        y: Tensor = self.output(swiglu(self.up(hidden), self.kernels))
        return added(x, y, drop, self.kernels)

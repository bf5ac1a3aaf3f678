"""The SwiGLU feed-forward block: y = x + W_down (silu(W_gate h) * W_up h), h = norm(x) (2002.05202)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.dropout import Drop, dropped


class FeedForward(nn.Module):
    """Pre-norm SwiGLU with a residual."""

    def __init__(self, config: ModelConfig | CognateConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.up = nn.Linear(config.d_model, 2 * config.feed_forward_dim, bias=False)
        self.output = nn.Linear(config.feed_forward_dim, config.d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time model"], drop: Drop | None = None
    ) -> Float[Tensor, "batch time model"]:
        """Return x plus the feed-forward of its norm, of which `drop` leaves some out; every token alone."""
        up: Tensor = self.up(self.norm(x))
        gate, value = up.chunk(2, dim=-1)
        y: Tensor = self.output(F.silu(gate) * value)
        return x + dropped(y, drop)

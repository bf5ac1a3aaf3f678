"""A layer of the backbone of the family `cognate`: causal attention and SwiGLU.

    x <- x + attention(norm(x));    x <- x + swiglu(norm(x))

Deliberately different from the source system: attention is causal. What stands beside the layers is `backbone_memory`.
"""

from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.feed_forward import FeedForward
from atlas_ref.blocks.windowed_attention import AttentionCache, Places, WindowedAttention
from atlas_ref.config.cognate import CognateConfig


class BackboneLayer(nn.Module):
    """Attention over a window, then SwiGLU, each on a norm and with a residual."""

    def __init__(self, config: CognateConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.attention = WindowedAttention(config.d_model, config.n_heads, config.window, bias=False)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Float[Tensor, "batch time model"], cache: AttentionCache, places: Places
    ) -> tuple[Float[Tensor, "batch time model"], AttentionCache]:
        """Return the hidden states after the layer, and the cache after the call."""
        hidden: Tensor = self.norm(x)
        attended, after = self.attention(hidden, hidden, cache, places)
        fed: Tensor = self.feed_forward(x + attended)
        return fed, after

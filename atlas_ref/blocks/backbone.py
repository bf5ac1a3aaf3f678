"""The backbone of the family `cognate`: layers of causal attention and SwiGLU, with a running mean beside them.

    x <- x + attention(norm(x));    x <- x + swiglu(norm(x))                    each layer
    features = norm(x)                                                          without a memory
    features = g * norm(x) + (1 - g) * m,   m = W_up ltm(W_down norm(x))        with one
    g = sigmoid(W_2 relu(W_1 [norm(x); m] + b_1) + b_2)

Deliberately different from the source system: attention is causal, the running mean is a scan with a gradient through
every step, and its state belongs to a row of the batch.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from atlas_ref.blocks.feed_forward import FeedForward
from atlas_ref.blocks.windowed_attention import AttentionCache, Places, WindowedAttention
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.functional.ltm import ltm_chunked
from atlas_ref.functional.normalize import at_least_float32


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


class Remembered(NamedTuple):
    """Features, the state of the running mean, its reads, the gate that joined them and what it is the sigmoid of."""

    features: Float[Tensor, "batch time model"]
    state: Float[Tensor, "batch width"]
    reads: Float[Tensor, "batch time model"]
    gate: Float[Tensor, "batch time model"]
    logits: Float[Tensor, "batch time model"]


class RunningMean(nn.Module):
    """The memory of the source system and the gate that joins it to the backbone (module docstring)."""

    def __init__(self, config: CognateConfig) -> None:
        super().__init__()
        size, ltm = config.d_model, config.ltm
        self.decay = ltm.decay
        self.down = nn.Linear(size, ltm.width, bias=False)
        self.up = nn.Linear(ltm.width, size, bias=False)
        self.gate_hidden = nn.Linear(2 * size, ltm.gate_hidden)
        self.gate = nn.Linear(ltm.gate_hidden, size)

    def initial_state(self, batch: int) -> Float[Tensor, "batch width"]:
        """Return the mean of nothing."""
        return at_least_float32(self.down.weight).new_zeros(batch, self.down.out_features)

    def forward(self, y: Float[Tensor, "batch time model"], state: Tensor, places: Places) -> Remembered:
        """Return the features and the mean after the call."""
        means, after = ltm_chunked(self.down(y), state, places.memory, self.decay)
        reads: Tensor = self.up(means).to(y.dtype)
        logits = at_least_float32(self.gate(relu(self.gate_hidden(torch.cat([y, reads], -1)))))
        gate = torch.sigmoid(logits)
        joined = (gate * y + (1.0 - gate) * reads).to(y.dtype)
        return Remembered(joined, after, reads, gate, logits)


def gate_entropy(logits: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean of -g ln g - (1 - g) ln(1 - g), g = sigmoid(a): ln(1 + e^b) - b sigmoid(b) with b = -|a|.

    Of a gate that rounds to 0 or 1 the logarithm has no derivative; of the logit it is -a g (1 - g), which goes to 0.
    """
    less = -logits.abs()
    return (softplus(less) - less * torch.sigmoid(less)).mean()

"""Causal attention over the last tokens of a document, without rotation: positions are in the embeddings.

    attention(a, b)_t = W_o sum_{i in window of t} softmax(q_t . k_i / sqrt(dim)) v_i,   q of a, k and v of b

The last window - 1 keys and values are the state, so that any split of a sequence into calls gives the same.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.blocks.kernels.choice import kernel_attention, kernel_query
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.looking import surely_at_least
from atlas_ref.functional.normalize import as_autocast_rounds, at_least_float32
from atlas_ref.functional.window import latest, recent
from atlas_ref.memory.state import StateTree
from atlas_ref.optim.qk_clip import largest_in_blocks


@dataclass(frozen=True)
class AttentionCache(StateTree):
    """The last window - 1 keys and values of one attention; zero where the document is younger than that."""

    keys: Float[Tensor, "batch past heads dim"]
    values: Float[Tensor, "batch past heads dim"]


class Places(NamedTuple):
    """Where the tokens of a call stand: the index of each in its context, how many of it each row has read, and the
    index of each in what its memory has seen (`blocks.timeline`)."""

    position: Int[Tensor, "batch time"]
    seen: Int[Tensor, " batch"]
    memory: Int[Tensor, "batch time"]


def empty_cache(batch: int, window: int, heads: int, dim: int, like: Tensor) -> AttentionCache:
    """Return the cache of rows before their first token, in float32 or wider."""
    zeros = at_least_float32(like).new_zeros(batch, window - 1, heads, dim)
    return AttentionCache(zeros, zeros)


def kept(keys: Tensor, values: Tensor, places: Places) -> AttentionCache:
    """Return the caches as state: wide, and without tokens of earlier documents."""
    wide = (at_least_float32(x) for x in (keys, values))
    if places.position.shape[1] == 1 and surely_at_least(keys.shape[1], places.seen):
        # Of one token, as in decoding, nothing else is kept alive by a view.
        return AttentionCache(*wide)
    return AttentionCache(*recent(places.seen, keys.shape[1], *wide))


class WindowedAttention(nn.Module):
    """Multi-head attention over a window (module docstring)."""

    def __init__(self, d_model: int, n_heads: int, window: int, *, bias: bool) -> None:
        super().__init__()
        self.n_heads, self.window, self.head_dim = n_heads, window, d_model // n_heads
        self.projection = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.output = nn.Linear(d_model, d_model, bias=bias)

    def initial_cache(self, batch: int) -> AttentionCache:
        """Return the empty cache of `batch` rows."""
        return empty_cache(batch, self.window, self.n_heads, self.head_dim, self.output.weight)

    def forward(
        self,
        asking: Float[Tensor, "batch time model"],
        told: Float[Tensor, "batch time model"],
        cache: AttentionCache,
        places: Places,
    ) -> tuple[Float[Tensor, "batch time model"], AttentionCache]:
        """Return what the tokens `asking` see of those `told`, and the cache after the call."""
        by_kernels = self._one_token if told.shape[1] == 1 else self._by_kernels
        found = by_kernels(asking, told, cache, places)
        if found is not None:
            return found
        queries, keys, values = self._project(asking, told)
        none = keys.new_zeros(0, *keys.shape[2:])
        seen, new_keys, new_values = sliding_window_attention(
            queries, keys, values, none, none, cache.keys, cache.values, places.position, self.window
        )
        output: Tensor = self.output(seen.flatten(-2))
        return output, kept(new_keys, new_values, places)

    def _one_token(
        self, asking: Tensor, told: Tensor, cache: AttentionCache, places: Places
    ) -> tuple[Tensor, AttentionCache] | None:
        """Return what `forward` does of a call of one token, by its kernel; None where there is none."""
        past = Past(cache.keys, cache.values)
        ask = kernel_query("auto", told, past, self.head_dim)
        if ask is None:
            return None
        shape = Shape(self.n_heads, self.head_dim, self.window)
        queries, packed = self._packed(asking, told)
        seen, after = ask(queries, packed, None, past, places.position, None, shape)
        output: Tensor = self.output(seen.flatten(-2))
        return output, AttentionCache(*after)

    def _by_kernels(
        self, asking: Tensor, told: Tensor, cache: AttentionCache, places: Places
    ) -> tuple[Tensor, AttentionCache] | None:
        """Return what `forward` does, by kernels where they run on the device; None where they do not."""
        past = Past(cache.keys, cache.values)
        attend = kernel_attention("auto", as_autocast_rounds(told), self.head_dim)
        if attend is None:
            return None
        # A row of them all, as kernels read it.
        same = self.projection(told) if asking is told else None
        packed = torch.cat([x.flatten(-2) for x in self._project(asking, told)], -1) if same is None else same
        shape = Shape(self.n_heads, self.head_dim, self.window)
        seen, _ = attend(packed, packed.new_empty(0, packed.shape[-1]), past, places.position, None, shape, None)
        keys, values = packed.unflatten(-1, (3, self.n_heads, self.head_dim)).unbind(2)[1:]
        output: Tensor = self.output(seen.flatten(-2))
        return output, kept(latest(past.keys, keys), latest(past.values, values), places)

    def largest_logits(
        self, asking: Tensor, told: Tensor, cache: AttentionCache, places: Places
    ) -> Float[Tensor, " heads"]:
        """Return the largest logit of each head over the pairs in sight, of the call that `forward` gets."""
        queries, keys, _ = (at_least_float32(x) for x in self._project(asking, told))
        return largest_in_blocks(queries, keys, cache.keys, places.position)

    def _project(self, asking: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of every head."""
        queries, packed = self._packed(asking, told)
        keys, values = torch.unflatten(packed, -1, (2, self.n_heads, self.head_dim)).unbind(-3)
        return torch.unflatten(queries, -1, (self.n_heads, self.head_dim)), keys, values

    def _packed(self, asking: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries, and keys and values side by side, of all heads."""
        weight, bias, size = self.projection.weight, self.projection.bias, asking.shape[-1]
        if asking is told and asking.shape[1] == 1:
            # Of one token both in one product.
            projected = F.linear(asking, weight, bias)
            return projected[..., :size], projected[..., size:]
        biases = (None, None) if bias is None else (bias[:size], bias[size:])
        return F.linear(asking, weight[:size], biases[0]), F.linear(told, weight[size:], biases[1])

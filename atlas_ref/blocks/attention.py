"""Multi-head attention of a block: its projection, its persistent tokens, and what it carries from call to call."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.block import BlockState
from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.blocks.kernels.choice import Attention, Query, kernel_attention, kernel_query
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.dropout import Drop
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.once import once
from atlas_ref.functional.window import latest
from atlas_ref.optim.qk_clip import largest_in_sight


@dataclass(frozen=True)
class AttentionState(BlockState):
    """What a block with a window carries: its memory branch and the last window - 1 keys and values."""

    cache_keys: Float[Tensor, "batch past heads dim"]
    cache_values: Float[Tensor, "batch past heads dim"]


class AttentionHeads(nn.Module):
    """The projection of tokens to queries, keys and values of heads, and learned persistent tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.head_dim = config.n_heads, config.d_model // config.n_heads
        self.rope_base = config.attention.rope_base
        self.projection = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.persistent = nn.Parameter(torch.empty(config.attention.persistent_tokens, config.d_model))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float) -> None:
        """Draw the weights."""
        self.projection.weight.normal_(std=std, generator=generator)
        self.persistent.normal_(std=std, generator=generator)

    def project(self, tokens: Float[Tensor, "batch time model"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of every token, each [batch, time, heads, dim]."""
        return self.apart(self.projection(tokens))

    def apart(self, projected: Float[Tensor, "*tokens channels"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of every head of what was projected."""
        queries, keys, values = torch.unflatten(projected, -1, (3, self.n_heads, self.head_dim)).unbind(-3)
        return queries, keys, values

    def fixed(self) -> Float[Tensor, "tokens channels"]:
        """Return what persistent tokens are projected to: they have no position and are not rotated."""
        projected: Tensor = self.projection(self.persistent)
        return projected

    def fixed_heads(self) -> tuple[Float[Tensor, "tokens heads dim"], Float[Tensor, "tokens heads dim"]]:
        """Return keys and values of every head of persistent tokens, of which nobody needs the queries."""
        return once(self._fixed_heads, self.persistent, self.projection.weight)

    def _fixed_heads(self) -> tuple[Tensor, Tensor]:
        _, keys, values = self.apart(self.fixed())
        return keys, values

    def largest_logits(self, *inputs: Any) -> Float[Tensor, " heads"]:
        """Return the largest logit of each head over the pairs in sight, of the call that `forward` gets."""
        raise NotImplementedError

    def empty(self, batch: int, past: int) -> Float[Tensor, "batch past heads dim"]:
        """Return a cache of `past` keys or values of `batch` rows with nothing in it."""
        return at_least_float32(self.persistent).new_zeros(batch, past, self.n_heads, self.head_dim)


class SlidingWindowAttention(AttentionHeads):
    """Attention over a window, with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.window, self.kernels = config.attention.window, config.kernels

    def initial_cache(self, batch: int) -> Float[Tensor, "batch past heads dim"]:
        """Return the empty key or value cache of `batch` rows."""
        return self.empty(batch, self.window - 1)

    def forward(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: AttentionState,
        timeline: Timeline,
        drop: Drop | None = None,
    ) -> tuple[Float[Tensor, "batch time model"], Tensor, Tensor]:
        """Return (output, key cache, value cache); tokens of other contexts are never seen.

        `drop` leaves some of the weights out.
        """
        projected: Tensor = self.projection(hidden)
        past = Past(state.cache_keys, state.cache_values)
        ask = kernel_query(self.kernels, projected, past, self.head_dim) if drop is None else None
        if ask is not None:
            return self._one_token(ask, projected, past, timeline)
        attend = kernel_attention(self.kernels, projected, self.head_dim)
        run = self._by_reference if attend is None else partial(self._by_kernels, attend)
        found, cache_keys, cache_values = run(projected, past, timeline, drop)
        wide = (at_least_float32(cache) for cache in (cache_keys, cache_values))
        cache_keys, cache_values = timeline.recent(state.memory.context, self.window - 1, *wide)
        return found.flatten(-2), cache_keys, cache_values

    def _one_token(
        self, ask: Query, projected: Tensor, past: Past, timeline: Timeline
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `forward` does of a call of one token, by its kernel."""
        turning = timeline.angles(self.head_dim, self.rope_base, torch.float32)
        shape, width = Shape(self.n_heads, self.head_dim, self.window), self.n_heads * self.head_dim
        queries, told = projected[..., :width], projected[..., width:]
        found, after = ask(queries, told, self.fixed(), past, timeline.context, turning, shape)
        return found.flatten(-2), *after

    def _by_reference(
        self, projected: Tensor, past: Past, timeline: Timeline, drop: Drop | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, and what the caches hold after the call."""
        fixed_keys, fixed_values = self.fixed_heads()
        # Queries and keys at once: the angles are the same. Of one token they lie side by side as they are.
        if projected.shape[1] == 1:
            heads = torch.unflatten(projected, -1, (3 * self.n_heads, self.head_dim))
            both, values = heads.split_with_sizes([2 * self.n_heads, self.n_heads], 2)
        else:
            queries, keys, values = self.apart(projected)
            both = torch.cat([queries, keys], 2)
        queries, keys = timeline.turned(both, self.rope_base).chunk(2, 2)
        return sliding_window_attention(
            queries, keys, values, fixed_keys, fixed_values, *past, timeline.context, self.window, drop
        )

    def _by_kernels(
        self,
        attend: Attention,
        projected: Tensor,
        past: Past,
        timeline: Timeline,
        drop: Drop | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same by kernels."""
        turning = timeline.angles(self.head_dim, self.rope_base, torch.float32)
        shape = Shape(self.n_heads, self.head_dim, self.window)
        output, keys = attend(projected, self.fixed(), past, timeline.context, turning, shape, drop)
        return output, latest(past.keys, keys), latest(past.values, self.apart(projected)[-1])

    def largest_logits(
        self, hidden: Float[Tensor, "batch time model"], state: AttentionState, timeline: Timeline
    ) -> Float[Tensor, " heads"]:
        """Return the largest logit of each head over the pairs in sight, of the call that `forward` gets."""
        queries, keys, _ = (at_least_float32(part) for part in self.project(hidden))
        queries, keys = timeline.turned(torch.cat([queries, keys], 2), self.rope_base).chunk(2, 2)
        persistent = at_least_float32(self.fixed_heads()[0])
        return largest_in_sight(queries, keys, persistent, state.cache_keys, timeline.context)

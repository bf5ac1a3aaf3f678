"""Attention of MAC: over persistent tokens, rows of the memory and the tokens of the segment so far; and its state."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.blocks.attention import AttentionHeads
from atlas_ref.blocks.block import BlockState
from atlas_ref.blocks.rows import Question
from atlas_ref.blocks.timeline import Piece
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.rotary import rotate
from atlas_ref.functional.segment_attention import attention_in_sight, largest_logit_in_sight, segment_sight
from atlas_ref.functional.window import recent
from atlas_ref.memory.state import Held

OWN = 4.0
"""At the start, by how much a token's own logit is above the logarithm of how many others it sees."""
Cache = Float[Tensor, "batch past heads dim"]
RowCache = Float[Tensor, "batch row_past heads dim"]
Caches = tuple[Cache, Cache, RowCache, RowCache]
"""Keys and values of tokens, then of rows."""


@dataclass(frozen=True)
class MacState(BlockState):
    """What MAC carries: its memory, W_[s] of the segment, and of the segment so far keys and values of tokens and rows.

    Caches have C - 1 places, those of rows none unless they are tokens' own; the last two are `rows.RowState`.
    """

    segment: tuple[Held, ...]
    cache_keys: Cache
    cache_values: Cache
    row_keys: RowCache
    row_values: RowCache
    row_tail: Float[Tensor, "batch _tail channels"]
    row_queries: Float[Tensor, "batch asked heads key"]

    @property
    def caches(self) -> Caches:
        """The caches, in their order."""
        return self.cache_keys, self.cache_values, self.row_keys, self.row_values


class _Seen(NamedTuple):
    """Queries, every key and value that stands before some of them, and which query sees which."""

    queries: Float[Tensor, "batch time heads dim"]
    keys: Float[Tensor, "batch keys heads dim"]
    values: Float[Tensor, "batch keys heads dim"]
    sight: Bool[Tensor, "batch time keys"]


class SegmentAttention(AttentionHeads):
    """Attention within segments; rows pass through the projections of tokens (module docstring)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.segment = config.mac.segment

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float) -> None:
        """Start with W_q a multiple of W_k with which a token sees itself with a share of about e^4 to 1.

        Else what attention returns is a mean that knows of no token in particular, and the memory that writes it has
        nothing to tell its keys apart by. A token's own logit is d_model std^2 sqrt(head_dim) times that multiple, and
        those of the 2 C other keys of a segment are around zero.
        """
        super().initialise(generator, std)
        queries, keys, _ = self.projection.weight.chunk(3)
        own = self.projection.in_features * std**2 * self.head_dim**0.5
        queries.copy_((math.log(2 * self.segment) + OWN) / own * keys)

    def forward(
        self,
        hidden: Float[Tensor, "batch time model"],
        rows: Float[Tensor, "batch rows model"],
        asked: Question,
        state: MacState,
        piece: Piece,
    ) -> tuple[Float[Tensor, "batch time model"], Caches]:
        """Return what the tokens of a piece see, and the caches that their segment goes on with."""
        queries, made = self._turned(hidden, rows, asked, piece)
        output = attention_in_sight(*self._seen(queries, made, asked, state, piece))
        seen = piece.timeline.seen(state.memory.context) % self.segment
        grown = (torch.cat([cache, at_least_float32(x)], 1) for cache, x in zip(state.caches, made, strict=True))
        kept = tuple(recent(seen, cache.shape[1], x)[0] for cache, x in zip(state.caches, grown, strict=True))
        return output.flatten(-2), (kept[0], kept[1], kept[2], kept[3])

    def largest_logits(
        self, hidden: Tensor, rows: Tensor, asked: Question, state: MacState, piece: Piece
    ) -> Float[Tensor, " heads"]:
        """Return the largest logit of each head over the pairs in sight, of the call that `forward` gets."""
        queries, made = self._turned(hidden, rows, asked, piece)
        seen = self._seen(queries, made, asked, state, piece)
        return largest_logit_in_sight(at_least_float32(seen.queries), at_least_float32(seen.keys), seen.sight)

    def _turned(
        self, hidden: Tensor, rows: Tensor, asked: Question, piece: Piece
    ) -> tuple[Float[Tensor, "batch time heads dim"], Caches]:
        """Return queries, and keys and values of tokens and rows; a row is turned like the token that asked for it."""
        queries, keys, values = self.project(hidden)
        queries, keys = piece.timeline.turned(torch.cat([queries, keys], 2), self.rope_base).chunk(2, 2)
        _, row_keys, row_values = self.project(rows)
        if asked.position is not None:
            row_keys = rotate(row_keys, asked.position, self.rope_base)
        return queries, (keys, values, row_keys, row_values)

    def _seen(self, queries: Tensor, made: Caches, asked: Question, state: MacState, piece: Piece) -> _Seen:
        """Put persistent tokens, rows and tokens behind one another, those of the caches before those of the call."""
        batch, time = queries.shape[:2]
        # Where every segment begins here, nothing in the caches is in sight.
        past = 0 if piece.whole else self.segment - 1
        keys, values, row_keys, row_values = (
            torch.cat([cache[:, :past].to(x.dtype), x], 1) for cache, x in zip(state.caches, made, strict=True)
        )
        inside = segment_sight(piece.timeline.context % self.segment, past)
        there = inside if asked.own else asked.there.unsqueeze(1).expand(-1, time, -1)
        # Persistent tokens have no position, and everybody sees them.
        persistent_keys, persistent_values = (x.expand(batch, -1, -1, -1) for x in self.fixed_heads())
        always = inside.new_ones(batch, time, persistent_keys.shape[1])
        return _Seen(
            queries,
            torch.cat([persistent_keys, row_keys, keys], 1),
            torch.cat([persistent_values, row_values, values], 1),
            torch.cat([always, there, inside], -1),
        )

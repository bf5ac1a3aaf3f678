"""The rows of MAC: what the memory is asked for at the start of a segment, and what attention sees of the answer.

    h_i = norm(W_h P_{W_[s]}(q_i)),        W_[s] the memory before the first token of the segment

    `causal`            q_i of token i itself, seen by the tokens from i on: conv(W n), SiLU, l2 norm
    `previous_segment`  q_i of the tokens of the segment before, seen by all: they are all over
    `learned`           constant queries, seen by all, at no position

All three leak nothing: no row depends on a later token. Asking with the tokens of the segment and showing the answers
to all of them, as printed (Titans 2501.00663 Eq. 21-23), would.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.memory_branch import L2_EPS, MemoryBranch
from atlas_ref.blocks.timeline import Piece
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.normalize import at_least_float32, l2_normalize
from atlas_ref.functional.window import recent

Asked = Float[Tensor, "batch rows heads key"]


class RowState(NamedTuple):
    """What the rows carry: the last inputs of their convolution, and the queries that a later segment will ask.

    Empty where a kind of row has none.
    """

    tail: Float[Tensor, "batch past channels"]
    queries: Float[Tensor, "batch asked heads key"]


class Question(NamedTuple):
    """What is asked of the memory at the start of a segment, and by whom the answers are seen.

    `own` says that row i is token i's, seen from i on; otherwise every token sees the rows that are `there`. The
    `position` turns their keys; None: they are not turned.
    """

    queries: Asked
    own: bool
    there: Bool[Tensor, "batch rows"]
    position: Int[Tensor, "batch rows"] | None


class RowReader(nn.Module):
    """Makes the queries of rows, and the rows from what is read (module docstring)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        memory, mac = config.memory, config.mac
        self.kind, self.segment = mac.rows, mac.segment
        self.n_heads, self.key_dim = config.n_heads, memory.key_dim
        self.channels = config.n_heads * memory.key_dim
        if self.kind == "learned":
            self.queries = nn.Parameter(torch.empty(mac.learned_rows, self.n_heads, self.key_dim))
        else:
            self.projection = nn.Linear(config.d_model, self.channels, bias=False)
            self.convolution = nn.Parameter(torch.empty(self.channels, memory.conv_kernel))
        self.output = nn.Linear(config.n_heads * memory.value_dim, config.d_model, bias=False)
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)

    @torch.no_grad()
    def initialise(self, memory: MemoryBranch[Any], generator: torch.Generator, std: float) -> None:
        """Start by asking as the memory's own queries do."""
        if self.kind == "learned":
            self.queries.normal_(generator=generator)
        else:
            self.projection.weight.copy_(memory.projection.weight[: self.channels])
            self.convolution.copy_(memory.convolution[: self.channels])
        self.output.weight.normal_(std=std, generator=generator)

    def initial_state(self, batch: int) -> RowState:
        """Return what `batch` rows carry before their first token."""
        like = at_least_float32(self.norm.weight)
        past = 0 if self.kind == "learned" else self.convolution.shape[1] - 1
        asked = 2 * self.segment - 1 if self.kind == "previous_segment" else 0
        tail = like.new_zeros(batch, past, 0 if self.kind == "learned" else self.channels)
        return RowState(tail, like.new_zeros(batch, asked, self.n_heads, self.key_dim))

    def ask(
        self, hidden: Float[Tensor, "batch time model"], state: RowState, piece: Piece, seen: Int[Tensor, " batch"]
    ) -> tuple[Question, RowState]:
        """Return what a piece of a call asks, and what is carried on; rows have seen `seen` tokens after the piece."""
        batch = len(hidden)
        if self.kind == "learned":
            queries = l2_normalize(at_least_float32(self.queries), L2_EPS).expand(batch, -1, -1, -1)
            there = torch.ones(queries.shape[:2], dtype=torch.bool, device=hidden.device)
            return Question(queries, False, there, None), state
        context = piece.timeline.context
        queries, tail = self._queries(hidden, state.tail, context, seen)
        if self.kind == "causal":
            there = torch.ones_like(context, dtype=torch.bool)
            return Question(queries, True, there, context), RowState(tail, state.queries)
        question = self._of_previous(state.queries, context)
        kept = torch.cat([state.queries, queries], 1)
        # The running segment and the one before it: what a later token may still ask.
        needed = torch.minimum(seen, seen % self.segment + self.segment)
        return question, RowState(tail, recent(needed, state.queries.shape[1], kept)[0])

    def rows(self, reads: Float[Tensor, "batch rows width"], like: Tensor) -> Float[Tensor, "batch rows model"]:
        """Return the rows that attention sees, from the reads of the memory."""
        h: Tensor = self.norm(self.output(reads.to(like.dtype)).to(like.dtype))
        return h

    def _queries(self, hidden: Tensor, tail: Tensor, context: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the query of every token, and the next tail of the convolution."""
        projected: Tensor = self.projection(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            mixed, after = short_convolution(at_least_float32(projected), self.convolution, tail, context)
            queries = torch.unflatten(F.silu(mixed), -1, (self.n_heads, self.key_dim))
            queries = l2_normalize(queries, L2_EPS)
        return queries, recent(seen, after.shape[1], after.unsqueeze(2))[0].squeeze(2)

    def _of_previous(self, cached: Asked, context: Int[Tensor, "batch time"]) -> Question:
        """Return the queries of the C tokens before the segment of the piece, oldest first."""
        segment, batch = self.segment, len(cached)
        if context.shape[1] == 0:
            nobody = torch.zeros(batch, 0, dtype=torch.bool, device=cached.device)
            return Question(cached[:, :0], False, nobody, nobody.long())
        first = context[:, :1]
        phase, index = first % segment, torch.arange(segment, device=context.device)
        place = (segment - 1 - phase + index)[:, :, None, None].expand(-1, -1, *cached.shape[2:])
        there = (first >= phase + segment).expand(-1, segment)
        position = torch.where(there, first - phase - segment + index, 0)
        # Selected before anything is read with them: what another context left may hold anything.
        asked = torch.where(there[:, :, None, None], cached.gather(1, place), 0.0)
        return Question(asked, False, there, position)

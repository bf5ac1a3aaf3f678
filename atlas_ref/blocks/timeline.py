"""Where the tokens of a call stand: in their context, and in what their memory has seen.

Attention, the angles of its keys and the short convolution look at a *context*: their position counts from the token
that began it. The memory, its chunks and shards and the Q-K projection look at what the memory has seen, and count from
where it began. One mark usually begins both, a document; two of them (`Marks`) let a memory be handed on to a context
that holds nothing of what was written, as in episodes of storage and retrieval (decision `marks`).

Every layer has seen the same tokens, so one timeline serves all.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.config.memory import MemoryConfig
from atlas_ref.functional.gate_floor import floor_over
from atlas_ref.functional.looking import Place, may_look, must_look, surely_at_least
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.rotary import Angles, angles, turned
from atlas_ref.functional.window import last_of, older_than, recent
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.plan import SegmentPlan, token_positions


class Piece(NamedTuple):
    """Tokens [start, stop) of a call, which lie in one segment of every row.

    opens: the rows whose segment begins with the first of them.    begins: the rows whose memory does.
    whole: whether every row's segment does, so that nobody sees anything older.
    """

    start: int
    stop: int
    timeline: "Timeline"
    opens: Bool[Tensor, " batch"]
    begins: Bool[Tensor, " batch"]
    whole: bool


class Marks(NamedTuple):
    """Which tokens begin a context, and which a memory; None: no token does.

    `floor` is the least gate of each token where what it is read for asks for one (`data.episodes`); None: none does.
    `draws` are the numbers that dropout draws from, which training alone gives (`functional.dropout`).
    """

    context: Bool[Tensor, "batch time"] | None = None
    memory: Bool[Tensor, "batch time"] | None = None
    floor: Float[Tensor, "batch time"] | None = None
    draws: Int[Tensor, "batch 2"] | None = None


@dataclass(frozen=True)
class Timeline:
    """The index of each token in its context, the tokens that begin a memory, and the layout of what it writes.

    `pieces` is for blocks that go through a context in segments (`model.block = "mac"`), and empty for others; `floor`
    is that of the marks.
    """

    context: Int[Tensor, "batch time"]
    reset: Bool[Tensor, "batch time"] | None
    plan: SegmentPlan
    pieces: tuple[Piece, ...] = ()
    floor: Float[Tensor, "batch time"] | None = None

    def gate_floor(self, scheduled: float) -> float | Float[Tensor, "batch time 1"]:
        """Return the floor of the gates: the scheduled one, or at each token the larger of it and that of the marks."""
        return scheduled if self.floor is None else floor_over(self.floor, scheduled).unsqueeze(-1)

    def turned(self, x: Float[Tensor, "batch time heads dim"], base: float) -> Float[Tensor, "batch time heads dim"]:
        """Return queries or keys turned by their places in the context (`rotary`); all layers share the angles."""
        return turned(x, *self.angles(x.shape[-1], base, at_least_float32(x).dtype))

    def angles(self, dim: int, base: float, dtype: torch.dtype) -> Angles:
        """Return cosine and sine of the angles of heads of width `dim`, made once for all layers."""
        key = dim, base, dtype
        if key not in self._angles:
            self._angles[key] = angles(self.context, *key)
        return self._angles[key]

    @cached_property
    def _angles(self) -> dict[tuple[int, float, torch.dtype], Angles]:
        return {}

    def seen(self, before: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Return how many tokens of its context each row has read after the call, `before` if the call is empty."""
        return self._end if self.context.shape[1] else before

    def recent(
        self,
        before: Int[Tensor, " batch"],
        length: int,
        *sequences: Float[Tensor, "batch _time _heads _dim"],
    ) -> tuple[Float[Tensor, "batch length _heads _dim"], ...]:
        """Return the last `length` tokens of each that are of the row's context (`window.recent`).

        Layers that keep as many tokens share what says so.
        """
        if length == 0 or self.context.shape[1] == 0:
            return recent(self.seen(before), length, *sequences)
        if length not in self._older:
            # Of one token, as in decoding, nothing else is kept alive by a view.
            whole = self.context.shape[1] == 1 and surely_at_least(length, self._end)
            self._older[length] = None if whole else older_than(self._end, length)
        older = self._older[length]
        if older is None:
            return tuple(x if x.shape[1] == length else x[:, x.shape[1] - length :] for x in sequences)
        return last_of(older, *sequences)

    @cached_property
    def _older(self) -> dict[int, Tensor | None]:
        return {}

    @cached_property
    def _end(self) -> Int[Tensor, " batch"]:
        return self.context[:, -1] + 1


def marks_of(reset: Bool[Tensor, "batch time"] | Marks | None) -> Marks:
    """Return both marks; where there is one, it begins both."""
    return reset if isinstance(reset, Marks) else Marks(reset, reset)


def make_timeline(
    memory: MemoryConfig,
    context: Int[Tensor, " batch"],
    position: Int[Tensor, " batch"],
    reset: Bool[Tensor, "batch time"] | Marks | None,
    time: int,
    segment: int = 0,
    place: Place | None = None,
) -> Timeline:
    """Return the timeline of a call of `time` tokens, with its pieces where segments have a length.

    Row b comes with `context[b]` tokens of its context and a memory that has seen `position[b]` tokens; `place` is that
    of `make_plan`.
    """
    marks = marks_of(reset)
    plan = make_plan(position, marks.memory, time, memory.chunk, memory.shards.length, place)
    timeline = Timeline(token_positions(context, marks.context, time), marks.memory, plan, floor=marks.floor)
    return replace(timeline, pieces=_pieces(timeline, memory, segment)) if segment else timeline


def _pieces(timeline: Timeline, memory: MemoryConfig, segment: int) -> tuple[Piece, ...]:
    """Return the pieces of a call, in order; an empty call is one empty piece.

    Segments are counted from the start of a context. What one reads of its memory depends on what the one before it
    wrote, so they come one after another. Rows out of step are cut at the borders of each: always right, and fast where
    rows agree, as chunks are (`memory.plan`).
    """
    context, position = timeline.context, timeline.plan.position
    opens, begins = context % segment == 0, position == 0
    time = context.shape[1]
    if time == 0:
        nobody = torch.zeros(len(context), dtype=torch.bool, device=context.device)
        return (Piece(0, 0, timeline, nobody, nobody, whole=False),)
    if time == 1 and not may_look():
        return (Piece(0, 1, timeline, opens[:, 0], begins[:, 0], whole=False),)
    must_look("where segments begin")
    inner = (opens | begins)[:, 1:].any(0).nonzero().flatten() + 1
    whole, pieces = opens.all(0).tolist(), []
    for start, stop in pairwise([0, *inner.tolist(), time]):
        reset = None if timeline.reset is None else timeline.reset[:, start:stop]
        plan = make_plan(position[:, start], reset, stop - start, memory.chunk, memory.shards.length)
        part = Timeline(context[:, start:stop], reset, plan)
        pieces.append(Piece(start, stop, part, opens[:, start], begins[:, start], whole[start]))
    return tuple(pieces)

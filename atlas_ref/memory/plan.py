"""Cutting a call into segments: the stretches of one row in which the anchor does not move.

The chunk phase of a row counts from its last reset (decision `chunks`), so rows may be out of step, a call may begin
and end in the middle of a chunk, and a reset may come anywhere. A segment is what lies between two such borders.
Segments of all rows are laid side by side and padded with identity tokens (decay 1, nothing written), so that the
chunked form is one loop over segments whatever the borders are. Where all rows agree, the layout is a plain view of the
sequence.

The layout depends on positions and resets only (`layout` makes it): one plan serves every layer of a model. It says too
where rows begin a shard (`shards`), which is always at the start of a segment, as a shard is made of whole chunks.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.functional.window import WindowBoundary, in_sight, older_than

Rows = bool | Tensor  # True / False for all rows alike, or a mask [batch]


def token_positions(
    position: Int[Tensor, " batch"], reset: Bool[Tensor, "batch time"] | None, time: int
) -> Int[Tensor, "batch time"]:
    """Return the 0-based index of each token in its document; row b enters with `position[b]` tokens behind it."""
    if time == 1:
        return position.unsqueeze(-1) if reset is None else torch.where(reset, 0, position.unsqueeze(-1))
    index = torch.arange(time, device=position.device).expand(position.shape[0], time)
    running = position.unsqueeze(-1) + index
    if reset is None:
        return running
    last = torch.where(reset, index, -1).cummax(-1).values
    return torch.where(last >= 0, index - last, running)


def crossings_before(position: Int[Tensor, "*tokens"], shard: int) -> Int[Tensor, "*tokens"]:
    """Return how many borders of its document a token that begins a shard has behind it, -1 for any other token.

    A border is a position p > 0 with p mod `shard` = 0; the token there has p / shard - 1 borders behind it, and the
    first token of a document -1: none, and it is none.
    """
    return torch.where(position % shard == 0, position // shard - 1, -1)


@dataclass(frozen=True)
class SegmentPlan:
    """The layout of one call: `count` segments of `width` slots for each row.

    front:  slots before the first token of the first segment (rows in step), or
    source: token index of each slot, `time` where the slot is padding, with `target` its inverse (rows out of step).

    starts: the first token of each segment, `time` where a row has no token in it.

    crossings: for each segment `crossings_before` of its first token in each row, None where no row begins a shard, and
             not all a document;
    borders: the tokens of the call at which they do. `shard` is 0 where there are no shards.
    """

    time: int
    count: int
    width: int
    front: int
    source: Int[Tensor, "batch slots"] | None
    target: Int[Tensor, "batch time"] | None
    position: Int[Tensor, "batch time"]
    starts: Int[Tensor, "batch segments"]
    opens: tuple[Rows, ...]
    resets: tuple[Rows, ...]
    shard: int
    crossings: tuple[Int[Tensor, " batch"] | None, ...]
    borders: tuple[int, ...]

    def seen(self, before: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Return how many tokens of its document each row has read after the call, `before` if the call is empty."""
        return self._end if self.time else before

    @cached_property
    def _end(self) -> Int[Tensor, " batch"]:
        return self.position[:, -1] + 1

    def hidden(self, window: int, chunk: int, boundary: WindowBoundary) -> Bool[Tensor, "batch time window"]:
        """Return which ages each token does not see (`window.in_sight`), made once for all layers."""
        key = window, chunk, boundary
        if key not in self._hidden:
            self._hidden[key] = ~in_sight(window, self.position, chunk, boundary)
        return self._hidden[key]

    @cached_property
    def _hidden(self) -> dict[tuple[int, int, WindowBoundary], Tensor]:
        return {}

    def older(self, length: int) -> Bool[Tensor, "batch length 1 1"]:
        """Return which of the last `length` tokens the document of a row does not have, made once for all layers."""
        if length not in self._older:
            self._older[length] = older_than(self._end, length)
        return self._older[length]

    @cached_property
    def _older(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def table(self) -> Int[Tensor, "5 segments batch"]:
        """Return what a kernel reads of every segment and row: its first token, how many it has, the position of the
        first, and as numbers `resets` and `opens`.
        """
        stops = F.pad(self.starts[:, 1:], (0, 1), value=self.time)
        first = F.pad(self.position, (0, 1)).gather(1, self.starts)
        lie = torch.stack([self.starts, stops - self.starts, first]).mT.to(torch.int32)
        marks = [_as_numbers(rows, self.starts) for rows in (self.resets, self.opens)]
        return torch.cat([lie, torch.stack(marks)])

    def split(self, x: Tensor, pad: float) -> Tensor:
        """Return [batch, time, ...] as [segments, batch, width, ...], `pad` in the empty slots."""
        batch, rest = x.shape[0], x.shape[2:]
        slots = self.count * self.width
        if self.source is None:
            if slots > self.time:
                back = slots - self.front - self.time
                x = F.pad(x, (*(0, 0) * len(rest), self.front, back), value=pad)
        else:
            x = _take(torch.cat([x, x.new_full((batch, 1, *rest), pad)], dim=1), self.source)
        return x.reshape(batch, self.count, self.width, *rest).transpose(0, 1)

    def split_window(self, x: Tensor, past: int, sight: Bool[Tensor, "segments batch slots"]) -> Tensor:
        """Return [batch, past + time, ...] as [segments, batch, past + width, ...]: each segment behind its past.

        What is not in `sight` is zero: selected, not multiplied by a weight of zero, so it counts for nothing whatever
        it holds.
        """
        batch, rest = x.shape[0], x.shape[2:]
        if past == 0:
            return self.split(x, 0.0)
        if self.source is None:
            back = self.count * self.width - self.front - self.time
            x = F.pad(x, (*(0, 0) * len(rest), self.front, back))
            near = x.unfold(1, past + self.width, self.width).movedim(-1, 2)
        else:
            starts = self.source.view(batch, self.count, self.width)[..., :1]
            slots = starts + torch.arange(past + self.width, device=x.device)
            x = F.pad(x, (*(0, 0) * len(rest), 0, past + self.width))
            near = _take(x, slots.flatten(1)).reshape(batch, self.count, past + self.width, *rest)
        return torch.where(sight.view(*sight.shape, *(1,) * len(rest)), near.transpose(0, 1), 0.0)

    def in_sight(self, past: int, chunk: int, boundary: WindowBoundary) -> Bool[Tensor, "segments batch slots"]:
        """Return which slots of `split_window` hold something that the tokens of the segment may see.

        A segment lies in one chunk of one document, so what its first token does not see none of its tokens sees; and
        a short segment is followed by slots of the next.
        """
        batch = len(self.position)
        first = F.pad(self.position, (0, 1)).gather(1, self.starts).T
        if self.source is not None:
            own = (self.source < self.time).view(batch, self.count, self.width).transpose(0, 1)
            return torch.cat([self._before(past, first, chunk, boundary), own], -1)
        sight = F.pad(self._before(past, first, chunk, boundary), (0, self.width), value=True)
        if self.front:
            # The first segment alone has empty slots in front, before its past.
            nearest = self._before(past + self.front, first[0], chunk, boundary)
            sight[0] = F.pad(nearest, (0, self.width - self.front), value=True)
        return sight

    @staticmethod
    def _before(slots: int, first: Tensor, chunk: int, boundary: WindowBoundary) -> Tensor:
        """Return which of the `slots` places before a token at position `first` it sees, oldest first."""
        return in_sight(slots + 1, first, chunk, boundary).flip(-1)[..., :-1]

    def join(self, x: Tensor) -> Tensor:
        """Return [segments, batch, width, ...] as [batch, time, ...]: the inverse of `split`."""
        x = x.transpose(0, 1).flatten(1, 2)
        if self.target is None:
            return x[:, self.front : self.front + self.time]
        return _take(x, self.target)


def _as_numbers(rows: tuple[Rows, ...], starts: Int[Tensor, "batch segments"]) -> Int[Tensor, "segments batch"]:
    """Return 1 in the rows of each segment that are named, on the device of `starts`."""
    if rows and all(isinstance(row, Tensor) for row in rows):
        return torch.stack([row for row in rows if isinstance(row, Tensor)]).to(torch.int32)
    # Where rows agree, segments differ at the start of a call: a launch for each that does, and none for the others.
    usual = rows[-1] if rows and isinstance(rows[-1], bool) else False
    found = starts.new_full((len(rows), len(starts)), int(usual), dtype=torch.int32)
    for n, row in enumerate(rows):
        if row is not usual:
            found[n] = row
    return found


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Return x[b, index[b, j], ...] for every row b."""
    return x.gather(1, index.view(*index.shape, *(1,) * (x.ndim - 2)).expand(*index.shape, *x.shape[2:]))


def where_rows(rows: Rows, new: Tensor, old: Tensor) -> Tensor:
    """Return `new` in the rows that `rows` names and `old` in the others."""
    if isinstance(rows, bool):
        return new if rows else old
    return torch.where(rows.view(-1, *(1,) * (new.ndim - 1)), new, old)

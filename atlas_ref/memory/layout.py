"""How a call is cut into segments: the layout (`plan`) of its positions and resets.

Where borders are is looked up in the numbers, once for all layers, but in two cases: a call of one token, of which each
row says for itself what begins there, and a caller who knows the phase of all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.functional.looking import Place, known_place, may_look, must_look
from atlas_ref.memory.plan import Rows, SegmentPlan, crossings_before, token_positions


@dataclass(frozen=True)
class _Segment:
    """Tokens [start, stop) of one row; `opens`: takes a new anchor; `resets`: begins a document."""

    start: int
    stop: int
    opens: bool
    resets: bool


def _row_segments(phase: int, resets: Sequence[int], time: int, chunk: int) -> list[_Segment]:
    """Cut one row at its resets and at every multiple of `chunk` since the last of them."""
    segments = []
    borders = [*resets, time]
    start, fresh = 0, False
    for border in borders:
        while start < border:
            stop = min(border, start + chunk - phase)
            segments.append(_Segment(start, stop, opens=phase == 0, resets=fresh))
            start, phase, fresh = stop, 0, False
        phase, fresh = 0, True
    return segments


def make_plan(
    position: Int[Tensor, " batch"],
    reset: Bool[Tensor, "batch time"] | None,
    time: int,
    chunk: int,
    shard: int = 0,
    place: Place | None = None,
) -> SegmentPlan:
    """Return the layout of a call of `time` tokens; row b has seen `position[b]` tokens of its document.

    `reset[b, t]` says that token t of row b begins a document; so does the first token of a row that has seen none.
    `shard` is the length of a shard, a multiple of `chunk`, or 0 for none. A caller who knows the place of all rows
    in stretches that are whole chunks and shards says so: nothing is looked at.
    """
    if time == 1:
        return _one_token_plan(position, reset, chunk, shard)
    positions = token_positions(position, reset, time)
    begins = positions == 0
    # A document that begins at the first token only moves the phase of its row: the layout may still be a plain view.
    first = begins[:, 0] if time else torch.zeros_like(position, dtype=torch.bool)
    place = known_place() if place is None else place
    if place is not None and place.is_whole(chunk):
        return _uniform_plan(place.at % chunk, None, positions, chunk, shard, place)
    must_look("where rows begin documents and chunks")
    phases = torch.where(first, 0, position % chunk).tolist()
    if len(set(phases)) == 1 and not bool(begins[:, 1:].any()):
        return _uniform_plan(phases[0], first if bool(first.any()) else False, positions, chunk, shard)
    marks = [row.nonzero().flatten().tolist() for row in begins.cpu()]
    rows = [_row_segments(phase, mark, time, chunk) for phase, mark in zip(phases, marks, strict=True)]
    return _ragged_plan(rows, positions, shard)


def _one_token_plan(
    position: Int[Tensor, " batch"], reset: Bool[Tensor, "batch 1"] | None, chunk: int, shard: int
) -> SegmentPlan:
    """Lay a call of one token a row: every row says for itself what begins, and where one may look, all say it once."""
    positions = token_positions(position, reset, 1)
    first = positions[:, 0]
    opens, resets = _one_token_rows(first, chunk)
    crossing = crossings_before(first, shard) if shard else None
    if crossing is not None and may_look() and not bool((crossing >= 0).any()):
        crossing = None
    return SegmentPlan(
        time=1,
        count=1,
        width=1,
        front=0,
        source=None,
        target=None,
        position=positions,
        starts=torch.zeros_like(positions),
        opens=(opens,),
        resets=(resets,),
        shard=shard,
        crossings=(crossing,),
        borders=() if crossing is None else (0,),
    )


def _one_token_rows(first: Int[Tensor, " batch"], chunk: int) -> tuple[Rows, Rows]:
    """Return which rows begin a chunk and which a document: one answer for all where it is seen that they agree."""
    if not may_look():
        return first % chunk == 0, first == 0
    places = first.tolist()
    opens, resets = [place % chunk == 0 for place in places], [place == 0 for place in places]
    return _agreed(opens, first.device), _agreed(resets, first.device)


def _agreed(rows: list[bool], device: torch.device) -> Rows:
    """Return what all rows say where they say the same, else what each does."""
    return rows[0] if len(set(rows)) == 1 else torch.tensor(rows, device=device)


def _uniform_plan(
    phase: int, first: Rows | None, positions: Tensor, chunk: int, shard: int, place: Place | None = None
) -> SegmentPlan:
    """Lay rows of one phase as a view of the sequence; a call inside one chunk is not padded to its length.

    `first` are the rows that begin a document with the call, where none does later; None: any may with any segment.
    `place` is that of all rows, where it is known.
    """
    batch, time = positions.shape
    if phase + time <= chunk:
        count, width, front = min(time, 1), time, 0
    else:
        count, width, front = -(-(phase + time) // chunk), chunk, phase
    resets: tuple[Rows, ...]
    if first is None:
        firsts = positions[:, (width - front) % max(width, 1) :: max(width, 1)]
        firsts = torch.cat([positions[:, :1], firsts], 1) if front else firsts
        # One launch for all segments.
        resets = (firsts == 0).unbind(1)
    else:
        resets = tuple(first if n == 0 else False for n in range(count))
    starts = (torch.arange(count, device=positions.device) * width - front).clamp(min=0).expand(batch, count)
    if place is not None and place.is_whole(shard):
        tokens = [max(n * width - front, 0) for n in range(count)]
        crossings, borders = _known_shard_starts(tokens, place.at, positions, shard)
    else:
        crossings, borders = _shard_starts(starts, positions, shard)
    return SegmentPlan(
        time=time,
        count=count,
        width=width,
        front=front,
        source=None,
        target=None,
        position=positions,
        starts=starts,
        opens=tuple(n > 0 or phase == 0 for n in range(count)),
        resets=resets,
        shard=shard,
        crossings=crossings,
        borders=borders,
    )


def _ragged_plan(rows: list[list[_Segment]], positions: Tensor, shard: int) -> SegmentPlan:
    """Lay rows with different borders side by side; short rows and short segments end in padding."""
    batch, time = positions.shape
    count = max(len(row) for row in rows)
    width = max((segment.stop - segment.start for row in rows for segment in row), default=0)
    source = torch.full((batch, count, width), time, dtype=torch.long)
    starts = torch.full((batch, count), time, dtype=torch.long)
    target = torch.zeros((batch, time), dtype=torch.long)
    opens, resets = torch.zeros((2, count, batch), dtype=torch.bool)
    for b, row in enumerate(rows):
        for n, segment in enumerate(row):
            tokens = torch.arange(segment.start, segment.stop)
            source[b, n, : len(tokens)] = tokens
            target[b, segment.start : segment.stop] = n * width + torch.arange(len(tokens))
            starts[b, n], opens[n, b], resets[n, b] = segment.start, segment.opens, segment.resets
    device = positions.device
    starts = starts.to(device)
    crossings, borders = _shard_starts(starts, positions, shard)
    return SegmentPlan(
        time=time,
        count=count,
        width=width,
        front=0,
        source=source.flatten(1).to(device),
        target=target.to(device),
        position=positions,
        starts=starts,
        opens=tuple(opens.to(device)),
        resets=tuple(resets.to(device)),
        shard=shard,
        crossings=crossings,
        borders=borders,
    )


def _shard_starts(
    starts: Int[Tensor, "batch segments"], positions: Int[Tensor, "batch time"], shard: int
) -> tuple[tuple[Tensor | None, ...], tuple[int, ...]]:
    """Return the crossings and borders of a plan; `starts` is the first token of each segment.

    It is `time` for an empty segment, which looks at a position of 0, and that is no border. Where the documents of all
    rows begin is one, though nobody crosses it: whoever may not look cannot tell the two apart, and both round alike.
    """
    if shard == 0:
        return (None,) * starts.shape[1], ()
    first = F.pad(positions, (0, 1)).gather(1, starts)
    crossings = crossings_before(first, shard)
    must_look("where rows begin shards")
    begun = (crossings >= 0) | ((first == 0) & (starts < positions.shape[1])).all(0)
    some = begun.any(0).tolist()
    found = tuple(column if any_row else None for column, any_row in zip(crossings.unbind(1), some, strict=True))
    return found, tuple(sorted(set(starts[begun].tolist())))


def _known_shard_starts(
    tokens: Sequence[int], at: int, positions: Int[Tensor, "batch time"], shard: int
) -> tuple[tuple[Tensor | None, ...], tuple[int, ...]]:
    """Return what `_shard_starts` does of segments that begin with `tokens` in all rows, which have read `at`
    tokens of their shard.
    """
    borders = tuple(token for token in tokens if shard and (at + token) % shard == 0)
    found = (crossings_before(positions[:, token], shard) if token in borders else None for token in tokens)
    return tuple(found), borders

"""Shards side by side: what never meets is run at once, in the batch axis.

Where a memory forgets everything at marked tokens, the stretches between marks are rows of their own. Of a call of B
rows, those that end inside the call (all but the last of each row) are run as one batch, the shorter ones filled up
behind; their states are not needed. The last stretches leave the state: they are in that batch where none of them needs
filling, and else a second call, from the first token at which one of them begins. With B rows of T tokens and marks
every S, the loop over chunks is S / b long, not T / b.

Where nobody may look at the marks (`functional.looking`), whole shards of S tokens are rows of their own if it is known
that each row begins the call with one: the keys only get another shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.functional.looking import Place, known_place, may_look, must_look, unseen
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState


class Stretch(NamedTuple):
    """Tokens [start, stop) of a row, between two marks."""

    row: int
    start: int
    stop: int


def run_folded(
    rule: MemoryRule,
    keys: Float[Tensor, "batch time heads features"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads features"],
    gates: Gates,
    initial: Weights,
    state: MemoryState,
    reset: Bool[Tensor, "batch time"] | None,
    *,
    writes: bool = True,
    shards: Shards | None = None,
    kernels: Kernels = "reference",
    every: int = 0,
) -> MemoryOutput:
    """Return what `memory_chunked` does, without the Omega loss where stretches were folded.

    `reset` marks where the memory forgets everything: where a document begins, and `every` so many tokens of it (0:
    there alone). Where `shards` let something go over a border, or no stretch ends inside the call, it is
    `memory_chunked`.
    """
    if keys.shape[1] == 1 or (every == 0 and known_place() is not None):
        # No stretch ends inside a call of one token, or is known to.
        given = (keys, values, queries, gates, initial, state, reset)
        return memory_chunked(rule, *given, writes=writes, shards=shards, kernels=kernels)
    if not may_look():
        return _run_whole(rule, keys, values, queries, gates, initial, state, every, writes, kernels)
    marks = torch.zeros(keys.shape[:2], dtype=torch.bool) if reset is None else reset.cpu()
    whole, last = stretches(marks)
    if shards is not None or not _worth_it(whole, marks):
        given = (keys, values, queries, gates, initial, state, reset)
        return memory_chunked(rule, *given, writes=writes, shards=shards, kernels=kernels)
    width = max(stretch.stop - stretch.start for stretch in [*whole, *last])
    together = all(stretch.stop - stretch.start == width for stretch in last)
    # In the order of the rows, as where nobody looks: what is summed over stretches has the same bits then.
    fold = _Fold(sorted([*whole, *last]) if together else whole, marks, keys.device)
    inputs = fold.rows_of(keys), fold.rows_of(values), fold.rows_of(queries)
    rows = memory_chunked(
        rule,
        *inputs,
        _each_gate(gates, fold.rows_of),
        initial,
        fold.states(state),
        None,
        writes=writes,
        kernels=kernels,
    )
    if together:
        ends = [fold.whole.index(stretch) for stretch in last]
        return MemoryOutput(fold.joined(rows.reads), rows.state.map(lambda x: x[ends]))
    first = min(stretch.start for stretch in last)
    keys, values, queries, late = (x[:, first:] for x in (keys, values, queries, marks.to(keys.device)))
    # A row whose last stretch begins later than `first` runs through what is before it, which its mark takes back.
    gates = _each_gate(gates, lambda x: x[:, first:])
    end = memory_chunked(rule, keys, values, queries, gates, initial, state, late, writes=writes, kernels=kernels)
    return MemoryOutput(fold.joined(rows.reads, end.reads, last, first), end.state)


def _run_whole(
    rule: MemoryRule,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    gates: Gates,
    initial: Weights,
    state: MemoryState,
    every: int,
    writes: bool,
    kernels: Kernels,
) -> MemoryOutput:
    """Run whole shards, of which each row is known to begin one with the call, as rows; raise UnseenError elsewhere."""
    (batch, time), place = keys.shape[:2], known_place()
    if place is None or not place.is_whole(every) or place.at % every or time % every:
        must_look("where shards begin")
    count = time // every

    def rows_of(x: Tensor) -> Tensor:
        return x.reshape(batch * count, every, *x.shape[2:])

    # Nothing of what a row brings is seen at position 0, which its shards begin at.
    own = state.map(lambda x: x.unsqueeze(1).expand(-1, count, *x.shape[1:]).flatten(0, 1))
    fresh = replace(own, position=torch.zeros_like(own.position))
    inputs = rows_of(keys), rows_of(values), rows_of(queries), _each_gate(gates, rows_of)
    with unseen(Place(0, every)):
        found = memory_chunked(rule, *inputs, initial, fresh, None, writes=writes, kernels=kernels)
    last = found.state.map(lambda x: x.reshape(batch, count, *x.shape[1:])[:, -1])
    return MemoryOutput(found.reads.reshape(batch, time, *found.reads.shape[2:]), last)


def stretches(marks: Bool[Tensor, "batch time"]) -> tuple[list[Stretch], list[Stretch]]:
    """Return the stretches that end inside the call, and the last one of each row."""
    whole, last = [], []
    for row, found in enumerate(marks):
        borders = sorted({0, *found.nonzero().flatten().tolist()})
        whole += [Stretch(row, start, stop) for start, stop in pairwise(borders)]
        last.append(Stretch(row, borders[-1], marks.shape[1]))
    return whole, last


def _worth_it(whole: list[Stretch], marks: Tensor) -> bool:
    """Return whether there is something to fold that filling does not make more than twice as long as the call."""
    width = max((stretch.stop - stretch.start for stretch in whole), default=0)
    return 0 < len(whole) * width <= 2 * marks.numel()


def _each_gate(gates: Gates, change: Callable[[Tensor], Tensor]) -> Gates:
    return Gates._make(None if x is None else change(x) for x in gates)


class _Fold:
    """Stretches as rows: `tokens` [stretches, width] says which token each slot holds, `there` whether it holds one."""

    def __init__(self, whole: list[Stretch], marks: Tensor, device: torch.device) -> None:
        self.whole, (self.batch, self.time) = whole, marks.shape
        rows, starts, stops = torch.tensor(whole).T
        slots = torch.arange(int((stops - starts).amax()))
        there = slots < (stops - starts).unsqueeze(1)
        self.rows, self.there = rows.to(device), there.to(device)
        self.tokens = torch.where(there, starts.unsqueeze(1) + slots, 0).to(device)
        self.continued = ((starts == 0) & ~marks[rows, 0]).to(device)

    def rows_of(self, x: Tensor) -> Tensor:
        """Return [stretches, width, ...] of what is [batch, time, ...], zero behind the end of a stretch."""
        there = self.there.view(*self.there.shape, *(1,) * (x.ndim - 2))
        return torch.where(there, x[self.rows.unsqueeze(1), self.tokens], 0.0)

    def states(self, state: MemoryState) -> MemoryState:
        """Return the state of each stretch: that of its row where it goes on from before the call, else one at position
        0, where nothing of what it holds is seen.
        """
        own = state.map(lambda x: x[self.rows])
        return replace(own, position=torch.where(self.continued, own.position, 0))

    def joined(self, found: Tensor, end: Tensor | None = None, last: Sequence[Stretch] = (), first: int = 0) -> Tensor:
        """Return [batch, time, ...] from the reads of the stretches; `end` has those of all rows from token `first` on,
        of which the `last` stretches are taken.
        """
        stretched, width = found.shape[:2]
        late = 0 if end is None else end.shape[1]
        place = torch.zeros(self.batch, self.time, dtype=torch.long)
        for number, (row, start, stop) in enumerate(self.whole):
            place[row, start:stop] = number * width + torch.arange(stop - start)
        for row, start, stop in last:
            place[row, start:] = stretched * width + row * late + torch.arange(start - first, stop - first)
        reads = found.flatten(0, 1) if end is None else torch.cat([found.flatten(0, 1), end.flatten(0, 1)])
        return reads[place.to(found.device)]

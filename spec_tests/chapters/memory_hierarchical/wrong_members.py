"""Memories of a hierarchy done wrongly: the loop with one method changed."""

import numpy as np

from spec_tests.chapters.memory_hierarchical.loop import Held, Hierarchy, Member
from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Token
from spec_tests.port import Array


class CountedAgain(Member):
    """Eq. 6 as printed: every token of a chunk writes the gradients of all tokens of the chunk so far."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        so_far = [] if self.phase(cell) == 0 else getattr(self, "gathered", [])
        self.gathered = [*so_far, gradient]
        every = [sum(parts[1:], parts[0]) for parts in zip(*self.gathered, strict=True)]
        super().write(cell, token, every if self.number else gradient)


class NoAnchor(Member):
    """Gradients at the memory that the token found, not at that of the chunk's start."""

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        super().enter(cell, token, initial)
        if self.number:
            cell.anchor = [matrix.copy() for matrix in cell.weights]


class SumOfTheChunk(Member):
    """Pi over the chunk, as Eq. 7 prints it, where the shard is asked."""

    def project(self, cell: Held, token: Token) -> None:
        if self.span == "shard" and self.phase(cell) == 0:
            cell.projection = np.zeros_like(cell.projection)
        super().project(cell, token)


class SumOfTheDocument(Member):
    """Pi over the document, where the shard is asked."""

    def restart(self, cell: Held, initial: Matrices) -> None:
        kept = cell.projection
        super().restart(cell, initial)
        cell.projection = kept


class ChunkForDocument(Member):
    """Pi over the shard, where the document is asked."""

    def restart(self, cell: Held, initial: Matrices) -> None:
        super().restart(cell, initial)
        cell.projection = np.zeros_like(cell.projection)


class ShardForChunk(Member):
    """Pi over the shard, where the chunk is asked."""

    def project(self, cell: Held, token: Token) -> None:
        if self.span == "chunk" and self.phase(cell) == 0 and not self.crosses(cell):
            kept = cell.projection
            super().project(cell, token)
            cell.projection = cell.projection + kept
            return
        super().project(cell, token)


class AlwaysProjected(Member):
    """Queries are projected where they are asked as they are."""

    def asked(self, cell: Held, token: Token) -> Array:
        return self.sums.matvec(cell.projection, token.query)


class MeanOfTheSum(Member):
    """Pi divided by its number of keys."""

    def asked(self, cell: Held, token: Token) -> Array:
        if self.span == "none":
            return super().asked(cell, token)
        return np.asarray(super().asked(cell, token) / np.trace(cell.projection))


class OneSumForAll(Member):
    """The sum of the first local memory serves all, whatever their shards."""

    def asked(self, cell: Held, token: Token) -> Array:
        return super().asked(self.cells[1], token)


class ResetWithTheGlobalChunk(Member):
    """A shard begins only where a chunk of the global memory does."""

    def crosses(self, cell: Held) -> bool:
        return super().crosses(cell) and cell.position % self.cells_chunk() == 0

    def cells_chunk(self) -> int:
        """Return the chunk of the longest stretch that is looked at whole."""
        return 4


class WindowAcrossShards(Member):
    """A shard keeps the window of the one before."""

    def restart(self, cell: Held, initial: Matrices) -> None:
        kept = cell.window
        super().restart(cell, initial)
        cell.window = kept


class MomentumAcrossShards(Member):
    """A shard keeps the momentum of the one before."""

    def restart(self, cell: Held, initial: Matrices) -> None:
        kept = cell.momentum
        super().restart(cell, initial)
        cell.momentum = kept


class WeightsAcrossShards(Member):
    """A shard forgets momentum, window and Pi, and keeps what was written."""

    def restart(self, cell: Held, initial: Matrices) -> None:
        super().restart(cell, [matrix.copy() for matrix in cell.weights])


class CloneOfTheGlobal(Member):
    """A shard begins as a copy of the global memory."""

    def restart(self, cell: Held, initial: Matrices) -> None:
        super().restart(cell, self.cells[0].weights)


class GlobalOfNow(Member):
    """The global memory is read after the write, like the others."""

    def answer(self, cell: Held, token: Token) -> Array:
        return super().answer(cell, token) if self.number else self.value(cell.weights, token.query)


class GlobalProjected(Member):
    """The global memory is asked with a projected query too."""

    def answer(self, cell: Held, token: Token) -> Array:
        if self.number:
            return super().answer(cell, token)
        return self.value(cell.anchor, self.sums.matvec(self.cells[1].projection, token.query))


class LocalAtTheAnchor(Member):
    """Local memories are read at the start of their chunk, like the global one."""

    def answer(self, cell: Held, token: Token) -> Array:
        return super().answer(cell, token) if self.number == 0 else self.value(cell.anchor, self.asked(cell, token))


class LocalBeforeTheWrite(Member):
    """Local memories are read before the token's own write."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        self.found = cell.weights
        super().write(cell, token, gradient)

    def answer(self, cell: Held, token: Token) -> Array:
        return super().answer(cell, token) if self.number == 0 else self.value(self.found, self.asked(cell, token))


class MarksAlone(Member):
    """Documents go on over marks in the local memories, which know shards alone."""

    def begins(self, cell: Cell, token: Token) -> bool:
        return super().begins(cell, token) if self.number == 0 or cell.position == 0 else False


class LastStateRead(Hierarchy):
    """Every read is that of the state after the call."""

    def run(self, x: Inputs) -> dict[str, Array]:
        outputs = super().run(x)
        reads = outputs["reads"]
        return {**outputs, "reads": 0.5 * reads + 0.5 * reads[:, -1:]} if reads.shape[1] else outputs

"""Parts of a block with two marks done wrongly: what begins with the other part, or never.

Each function gets the right one first, then what that one would get.
"""

from collections.abc import Callable
from unittest.mock import patch

import numpy as np

from spec_tests.chapters.blocks import oracle as parts
from spec_tests.chapters.blocks.oracle import Arrays, positions, rotate
from spec_tests.chapters.blocks.wrong_parts import LATE
from spec_tests.chapters.memory_step.loop import Cell, Config, Matrices, Oracle, Token
from spec_tests.chapters.qk_projection.oracle import qk_projection
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array

Part = Callable[..., dict[str, Array]]


def begun_by_both(x: Arrays) -> Array:
    """Return the places of tokens in contexts that begin with the memory too."""
    return positions(x["context"], x["reset_context"] | x["reset_memory"])


def of_memory(x: Arrays) -> Array:
    """Return the places of tokens in what the memory has seen."""
    return positions(x["position"], x["reset_memory"])


def attention_begun_by_both(right: Part, config: Config, h: Array, x: Arrays, _: Array, sums: Sums) -> Arrays:
    return right(config, h, x, begun_by_both(x), sums)


def attention_never_begun(right: Part, config: Config, h: Array, x: Arrays, position: Array, sums: Sums) -> Arrays:
    """See across the mark; angles are right."""
    with patch.object(parts, "rotate", lambda v, _, base: rotate(v, position, base)):
        return right(config, h, x, position + LATE, sums)


def angles_of_the_memory(right: Part, config: Config, h: Array, x: Arrays, position: Array, sums: Sums) -> Arrays:
    with patch.object(parts, "rotate", lambda v, _, base: rotate(v, of_memory(x), base)):
        return right(config, h, x, position, sums)


def convolution_never_begun(
    right: Part, config: Config, h: Array, x: Arrays, context: Array, position: Array, sums: Sums
) -> Arrays:
    return right(config, h, x, context + LATE, position, sums)


def convolution_begun_by_both(
    right: Part, config: Config, h: Array, x: Arrays, _: Array, position: Array, sums: Sums
) -> Arrays:
    return right(config, h, x, begun_by_both(x), position, sums)


def projection_of_the_context(
    right: Part, config: Config, h: Array, x: Arrays, context: Array, position: Array, sums: Sums
) -> Arrays:
    def projected(queries: Array, keys: Array, carry: Array, _: Array, order: Sums) -> dict[str, Array]:
        return qk_projection(queries, keys, carry, context, order)

    with patch.object(parts, "qk_projection", projected):
        return right(config, h, x, context, position, sums)


class Placed(Oracle):
    """A memory that knows the place of its token in the context, and how many tokens came without any mark."""

    place, count = 0, 0

    def see(self, inputs: Arrays, row: int, t: int, head: int) -> Token:
        """Note where the token stands."""
        self.place = int(positions(inputs["context"], inputs["reset_context"])[row, t])
        self.count = int(inputs["position"][row]) + t
        return super().see(inputs, row, t, head)


class BegunByContext(Placed):
    """M and S begin with the context."""

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        if self.place == 0:
            cell.weights, cell.momentum = list(initial), [0.0 * matrix for matrix in initial]
        super().enter(cell, token, initial)


class ChunksOfContext(Placed):
    """Chunks are counted from the context."""

    def phase(self, cell: Cell) -> int:
        return self.place % self.chunk


class WindowOfContext(Placed):
    """The Omega window sees no pair of another context."""

    def ages(self, cell: Cell, token: Token) -> range:
        return range(min(len(super().ages(cell, token)), self.place + 1))


class KeptMemory(Placed):
    """M and S go on at the mark of the memory."""

    def begin(self, cell: Cell, initial: Matrices) -> None:
        kept = cell.weights, cell.momentum
        super().begin(cell, initial)
        cell.weights, cell.momentum = kept


class ChunksGoOn(Placed):
    """Chunks go on at the mark of the memory."""

    def phase(self, cell: Cell) -> int:
        return self.count % self.chunk


class WindowGoesOn(Placed):
    """The Omega window goes on at the mark of the memory."""

    def begin(self, cell: Cell, initial: Matrices) -> None:
        kept = cell.window
        super().begin(cell, initial)
        cell.window = kept

    def ages(self, cell: Cell, token: Token) -> range:
        return range(min(len(token.gamma), len(cell.window)))


def unmarked_slopes(name: str, _: Config, x: Arrays) -> Arrays:
    """Return marks of a part that stand nowhere."""
    return {name: 0 * x[name]}


def slopes_stopped(_: Config, x: Arrays) -> Arrays:
    """Return marks that begin both parts wherever one begins."""
    both = x["reset_context"] | x["reset_memory"]
    return {"reset_context": both, "reset_memory": both}


def filled(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Return a window without zeros."""
    keys = outputs["window_keys"]
    return {"window_keys": np.where(keys == 0.0, 0.5, keys)}


def first_block(size: int, _: Config, x: Arrays) -> Arrays:
    """Return marks of contexts that are read in the first tokens of a call alone."""
    early = np.arange(x["reset_context"].shape[1]) < size
    return {"reset_context": x["reset_context"] * early}


def begun_at(size: int, _: Config, x: Arrays) -> Arrays:
    """Return marks as if a memory began with the second block of a call."""
    second = np.arange(x["reset_memory"].shape[1]) == size
    return {"reset_memory": x["reset_memory"] | second}

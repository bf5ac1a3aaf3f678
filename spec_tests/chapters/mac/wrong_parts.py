"""Parts of MAC done wrongly: each gets the right function first, then what that one would get."""

from collections.abc import Callable

import numpy as np

from spec_tests.chapters.blocks.operation import BLOCK_STATE, MODEL
from spec_tests.chapters.blocks.oracle import remember, rms_norm
from spec_tests.chapters.blocks.wrong_parts import LATE
from spec_tests.chapters.mac.oracle import Walk, split_heads
from spec_tests.chapters.memory_step.loop import Cell, Config, Oracle, Token
from spec_tests.faults.fault import Arrays
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array

PERSISTENT = 2
"""Persistent tokens of a call."""


def ahead(_: Callable[..., range], t: int, stop: int) -> range:
    """Show every token the rows of the whole segment, as printed."""
    return range(t, stop)


def alone(_: Callable[..., int], __: int, ___: int) -> int:
    """See nothing of the caches."""
    return 0


def sliding(_: Callable[..., int], index: int, place: int) -> int:
    """See over the border of the segment."""
    return max(index, min(place, 3))


def over_documents(_: Callable[..., int], index: int, __: int) -> int:
    """See the caches whatever came before."""
    return index + LATE


def from_the_call(right: Callable[..., int], _: int, t: int, span: int) -> int:
    """Count segments from the start of the call."""
    return right(t, t, span)


def within_the_segment(_: Callable[..., Array], place: Array, span: int) -> Array:
    return place % span


def behind_the_persistent(_: Callable[..., Array], place: Array, __: int) -> Array:
    """Count the persistent tokens and the rows as places."""
    return 2 * place + PERSISTENT


def current(_: Callable[..., Array], place: int, __: int, initial: Array, now: Array, ___: Array) -> Array:
    """Ask the memory as it is."""
    return initial if place == 0 else now


def never_moved(_: Callable[..., Array], place: int, __: int, initial: Array, ___: Array, before: Array) -> Array:
    """Ask the memory of the first segment for ever."""
    return initial if place == 0 else before


def never_begun(_: Callable[..., Array], __: int, index: int, ___: Array, now: Array, before: Array) -> Array:
    """Ask what another document wrote."""
    return now if index == 0 else before


class OfTheSegment(Oracle):
    """A memory that reads what it held at the start of the segment."""

    def __init__(self, config: Config, sums: Sums) -> None:
        super().__init__(config, sums)
        self.held: dict[int, list[Array]] = {}
        self.head = 0

    def see(self, inputs: Arrays, row: int, t: int, head: int) -> Token:
        """Note the head, and W_[s]."""
        self.head = head
        self.held[head] = self.matrices(inputs["segment_weights"][row, head], inputs)
        return super().see(inputs, row, t, head)

    def read(self, cell: Cell, token: Token) -> Array:
        """Read W_[s]."""
        return self.value(self.held[self.head], token.query)


class BeforeItsWrite(Oracle):
    """A memory that is read before it is written."""

    def token(self, cell: Cell, token: Token, initial: list[Array]) -> Array:
        """Take one token and return what it reads."""
        self.enter(cell, token, initial)
        before = self.read(cell, token)
        self.write(cell, token, self.window_gradient(cell, token))
        cell.window = cell.window[len(cell.window) - min(len(cell.window), len(token.gamma) - 1) :]
        cell.position += 1
        return before


class AfterTheSegment(Walk):
    """A block whose join reads, for every token, the memory that has written the whole segment, as printed."""

    def __init__(self, config: Config, x: Arrays, sums: Sums) -> None:
        super().__init__(config, x, sums)
        first, self.after = Walk(config, x, sums), []
        for t in range(x["x"].shape[1]):
            first.token(t)
            self.after.append(first.state["weights"])

    def remember(self, t: int, seen: Array) -> Array:
        """Read the memory after the last token of t's segment that the call has."""
        before, place = dict(self.state), self.places[:, t : t + 1]
        super().remember(t, seen)
        last = self.after[self.end(t) - 1]
        # Read before it writes, and not begun anew, such a memory answers with exactly these weights.
        one = {**self.x, **before, "weights": last, "initial": last[0], "reset": 0 * place}
        found = remember({**self.config, "read": "pre"}, self.written(t, seen), one, place, place, self.sums)
        return np.asarray(found["reads"].reshape(1, 1, -1))


def persistent_written(config: Config, x: Arrays) -> dict[str, Array]:
    """Begin documents with the memory after the persistent tokens."""
    count, whole = len(x["persistent"]), {**MODEL, **config, "span": x["cache_keys"].shape[1] + 1}
    if not count:
        return {}
    places = np.arange(count)[None]
    blank = {tensor.name: np.zeros((1, *x[tensor.name].shape[1:]), x[tensor.name].dtype) for tensor in BLOCK_STATE}
    tokens = rms_norm(x["persistent"], x["norm"], float(whole["norm_eps"]), FORWARD)[None]
    found = remember(whole, tokens, {**x, **blank, "reset": 0 * places}, places, places, FORWARD)
    return {"initial": found["weights"][0]}


class KeptMemory(Oracle):
    """A memory that goes on over a reset."""

    def begin(self, cell: Cell, initial: list[Array]) -> None:
        """Begin a document, with the memory as it is."""
        kept = cell.weights, cell.momentum
        super().begin(cell, initial)
        cell.weights, cell.momentum = kept


def rows_unscaled(
    right: Callable[..., Array], config: Config, asked: Array, weights: Array, x: Arrays, sums: Sums
) -> Array:
    """Normalise the rows with no scale of their own."""
    return right(config, asked, weights, {**x, "row_norm": np.ones_like(x["row_norm"])}, sums)


def as_given(_: Callable[..., Array], cache: Array, __: int) -> Array:
    """Leave in a cache what its segment does not have."""
    return cache


def swapped(right: Callable[..., object], kind: str, seen: Array, reads: Array, logits: Array, floor: float) -> object:
    """Exchange what is joined."""
    return right(kind, reads, seen, logits, floor)


def tail_goes_on(
    right: Callable[..., object], x: Array, filters: Array, tail: Array, position: Array, sums: Sums
) -> object:
    return right(x, filters, tail, position + LATE, sums)


def not_activated(_: Callable[..., Array], x: Array) -> Array:
    return x


def of_any_length(_: Callable[..., Array], x: Array, *__: object) -> Array:
    return x


def everything_turned(right: Callable[..., Array], keys: Array, place: Array | None, span: int, base: float) -> Array:
    """Turn persistent tokens and learned rows by their number."""
    return right(keys, np.arange(1, len(keys) + 1) if place is None else place, span, base)


def keys_of_queries(
    right: Callable[..., tuple[Array, Array]], config: Config, rows: Array, x: Arrays, sums: Sums
) -> tuple[Array, Array]:
    """Give rows the projection of queries for their keys."""
    found = split_heads(config, rows, x, sums)
    return found[0], found[2]


def biased(right: Callable[..., Array], *asked: object) -> Array:
    """Add a bias to what rows are made of."""
    return right(*asked) + 0.1


def zeros_masked(right: Callable[..., Array], query: Array, keys: Array, values: Array, sums: Sums) -> Array:
    """Take a key of zeros for padding."""
    kept = keys.any(-1)
    return right(query, keys[kept], values[kept], sums)

"""Examples in rows: what of a prompt and its answer a row has room for, what is scored, and which share a row.

An example of prompt p_1..p_n, answer a_1..a_m and separator E is

    tokens    p_1 ... p_{n-1}  p_n  a_1 ... a_m  E    E ...
    targets    -  ...    -     a_1  a_2 ...  E   -    - ...

The one shift is here: the target of a position is the token after it, so the last token of the prompt announces the
first of the answer, and the last of the answer announces its end. Nothing else is scored: not the prompt, not the
separator, behind which another example begins, and no filling. E is repeated up to a multiple of the grid, as behind
the documents of `streams`.

An example that is longer than a row loses the beginning of its prompt, never a token of its answer; where the answer,
its end and one token before it do not fit, the example is skipped. Both are counted.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlas_ref.data.answers import PromptAnswer
from atlas_ref.data.batch import IGNORED
from atlas_ref.data.tokenizer import Tokenizer


class Example(NamedTuple):
    """Tokens of one example and what follows each, IGNORED where nothing is scored."""

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]


class Counts(NamedTuple):
    """What became of examples: how many there were, and of how many the prompt was cut or all was skipped."""

    examples: int
    cut: int
    skipped: int


class Rows(NamedTuple):
    """Examples laid in rows of the same length, filled up with the separator."""

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    starts: NDArray[np.bool_]
    """True where an example begins."""
    counts: Counts

    @classmethod
    def of(cls, examples: Sequence[PromptAnswer], joint: str, tokenizer: Tokenizer, length: int, grid: int) -> "Rows":
        """Encode examples and lay them in rows of `length`, a multiple of `grid`.

        Prompt and answer are encoded each by itself, so that no token has a part of both.
        """
        fitting, cut = [], 0
        for prompt, answer in examples:
            given, said = tokenizer.encode(prompt + joint), tokenizer.encode(answer)
            room = length - len(said) - 1
            if room >= 1:
                cut += len(given) > room
                fitting.append(laid_out(given[-room:], said, tokenizer.separator, grid))
        counts = Counts(len(examples), cut, len(examples) - len(fitting))
        return _in_rows(fitting, tokenizer.separator, length, counts)

    @classmethod
    def of_texts(cls, texts: Sequence[str], tokenizer: Tokenizer, length: int, grid: int) -> "Rows":
        """Encode texts, each with the separator behind it, and lay them in rows, pieces of `length` where longer.

        Every token but the first of a text is scored, the separator too; what follows a piece is scored at its end.
        """
        pieces = [piece for text in texts for piece in pieces_of(text, tokenizer, length, grid)]
        return _in_rows(pieces, tokenizer.separator, length, Counts(len(texts), 0, 0))

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """All rows of some parts, one part behind the other; there must be one."""
        tokens, targets, starts = (np.concatenate([part[at] for part in parts]) for at in range(3))
        return cls(tokens, targets, starts, Counts(*map(sum, zip(*(part.counts for part in parts), strict=True))))


def laid_out(prompt: Sequence[int], answer: Sequence[int], separator: int, grid: int) -> Example:
    """One example as the head of this file shows it; `prompt` has at least one token."""
    tokens = [*prompt, *answer, separator]
    tokens += [separator] * (-len(tokens) % grid)
    targets = np.full(len(tokens), IGNORED, dtype=np.int64)
    first = len(prompt) - 1
    targets[first : first + len(answer) + 1] = [*answer, separator]
    return Example(np.array(tokens, dtype=np.int64), targets)


def pieces_of(text: str, tokenizer: Tokenizer, length: int, grid: int) -> Iterator[Example]:
    """Yield a text and the separator behind it in pieces of `length`, each filled up to a multiple of `grid`.

    Every token but the first is scored; what follows a piece is scored at its end.
    """
    tokens = [*tokenizer.encode(text), tokenizer.separator]
    for start in range(0, len(tokens) - 1, length):
        piece, following = tokens[start : start + length], tokens[start + 1 : start + length + 1]
        filling = -len(piece) % grid
        following += [IGNORED] * (len(piece) + filling - len(following))
        piece += [tokenizer.separator] * filling
        yield Example(np.array(piece, dtype=np.int64), np.array(following, dtype=np.int64))


def shared_rows(sizes: Iterable[int], length: int) -> list[list[int]]:
    """Which examples lie in which row, in order: each in the fullest row that has room for it, else in a new one."""
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []
    for number, size in enumerate(sizes):
        place = bisect_left(left, (size, -1))
        if place == len(left):
            rows.append([])
            room, row = length, len(rows) - 1
        else:
            room, row = left.pop(place)
        rows[row].append(number)
        if room > size:
            insort(left, (room - size, row))
    return rows


def _in_rows(examples: Sequence[Example], separator: int, length: int, counts: Counts) -> Rows:
    shared = shared_rows((len(example.tokens) for example in examples), length)
    shape = (len(shared), length)
    tokens, targets = np.full(shape, separator, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
    starts = np.zeros(shape, dtype=np.bool_)
    for row, numbers in enumerate(shared):
        place = 0
        for example in (examples[number] for number in numbers):
            there = slice(place, place + len(example.tokens))
            tokens[row, there], targets[row, there], starts[row, place] = example.tokens, example.targets, True
            place = there.stop
    return Rows(tokens, targets, starts, counts)

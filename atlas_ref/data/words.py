"""A text as words, each with its tokens: what can be masked as a whole, and what random answers are drawn from.

A word is letters, digits and what joins them, with the blank before it; punctuation stands for itself and is never
masked. Each is encoded by itself, so that a token never has a part of two.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlas_ref.data.tokenizer import Tokenizer

PARTS = re.compile(r"\s*(?:\w(?:[\w'\u2019-]*\w)?|[^\w\s])|\s+$")


class Words(NamedTuple):
    """Words and what is between them, in the order of a text: word w has the tokens [starts[w], starts[w + 1])."""

    tokens: NDArray[np.int64]
    starts: NDArray[np.int64]
    maskable: NDArray[np.bool_]

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer) -> "Words":
        """Return the words of texts, a separator behind each text."""
        encode = cache(lambda text: tuple(tokenizer.encode(text)))
        tokens, starts, maskable = list[int](), [0], list[bool]()
        for text in texts:
            for part in PARTS.findall(text):
                tokens += encode(part)
                starts.append(len(tokens))
                maskable.append(any(map(str.isalnum, part)))
            tokens.append(tokenizer.separator)
            starts.append(len(tokens))
            maskable.append(False)
        return cls(np.array(tokens, np.int64), np.array(starts, np.int64), np.array(maskable, np.bool_))

    def __len__(self) -> int:
        return len(self.maskable)

    def filling(self, first: int, room: int) -> NDArray[np.int64]:
        """Return the numbers of the words from `first` on, around the end of the text, that fit in `room` tokens."""
        numbers = (first + np.arange(min(room, len(self)))) % len(self)
        ends = np.cumsum(self.starts[numbers + 1] - self.starts[numbers])
        return numbers[ends <= room]

    def word(self, number: int) -> NDArray[np.int64]:
        """Return the tokens of a word."""
        return self.tokens[self.starts[number] : self.starts[number + 1]]

    def single_tokens(self, count: int) -> NDArray[np.int64]:
        """Return the `count` most frequent words that are one token, the lesser token of equals, or as many as are."""
        alone = self.maskable & (np.diff(self.starts) == 1)
        found = Counter(self.tokens[self.starts[:-1][alone]].tolist())
        order = sorted(found, key=lambda token: (-found[token], token))
        return np.array(order[:count], np.int64)

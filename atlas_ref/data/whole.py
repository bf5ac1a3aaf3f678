"""A text that is judged as a whole: every token of it once, from the first to the last.

The documents are laid end to end, each followed by the separator, as in training. The model reads them as one row
would: from a fresh memory at the first token and at every C-th, where C = `context_batches` * T as in training, and
at each document where memory starts afresh there. These contexts do not know of each other, so `batch_size` of them are
read side by side, and the result does not depend on how many. Scored is what follows each token of a document: its
other tokens and its end; nothing announces the first token of a document.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.data.corpus import Corpus
from atlas_ref.data.encoding import grid_of
from atlas_ref.data.identity import DataIdentity, identify
from atlas_ref.data.streams import Ring, split_texts
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.errors import UserError

Split = Literal["train", "validation", "all"]


class WholeText:
    """The batches to judge (ValidationSource)."""

    def __init__(self, corpus: Corpus, split: Split, tokenizer: Tokenizer, config: RunConfig) -> None:
        self.tokenizer: Tokenizer | None = tokenizer
        self.identity: DataIdentity = identify(
            corpus.files, text_key=config.data.text_key, task={}, tokenizer=tokenizer.to_json(), sample=None
        )
        self._separator, self._documents = tokenizer.separator, config.data.reset_memory_per_sequence
        self._length, self._steps = config.data.sequence_length, config.data.context_batches
        self._ring = Ring.of(_part(corpus, split, config.data.validation_fraction), tokenizer, grid_of(config))
        size, text = len(self._ring.tokens), self._ring.tokens != tokenizer.separator
        if not (text[:-1] & text[1:]).any():
            raise UserError(f"{corpus.name}: is too short: nothing follows the first token of what is to be judged.")
        contexts = -(-size // (self._length * self._steps))
        self._rows = min(config.train.batch_size, contexts)
        whole_groups, rest = divmod(size, self._rows * self._length * self._steps)
        # Of the last group the first row is the longest.
        self.validation_batches = whole_groups * self._steps + min(self._steps, -(-rest // self._length))

    def validation(self, index: int) -> Batch:
        """Batch `index` of `validation_batches`; memory is carried to the next, or starts afresh in all rows."""
        group, step = divmod(index, self._steps)
        contexts = group * self._rows + np.arange(self._rows)
        first = (contexts * self._steps + step) * self._length
        size = len(self._ring.tokens)
        length = min(self._length, max(1, size - int(first[0])))
        positions = first[:, None] + np.arange(length + 1)
        there, positions = positions < size, positions % size
        tokens = np.where(there, self._ring.tokens[positions], self._separator)
        targets = np.where(tokens[:, :-1] == self._separator, IGNORED, tokens[:, 1:])
        reset = self._ring.starts[positions[:, :-1]] & there[:, :-1] & self._documents
        reset[:, 0] |= step == 0
        return Batch(torch.from_numpy(tokens[:, :-1]), torch.from_numpy(targets), torch.from_numpy(reset))


def _part(corpus: Corpus, split: Split, validation_fraction: float) -> Sequence[str]:
    """The documents of a part; those that the cut goes through are two."""
    if split == "all":
        return corpus.documents
    return split_texts(corpus.documents, validation_fraction)[split == "validation"]

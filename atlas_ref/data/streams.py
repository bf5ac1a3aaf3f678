"""Text as B contiguous streams, and the choice of the source that a configuration names.

The documents are laid end to end, each followed by the separator, and closed to a ring of N tokens. Row b reads the
ring from its own offset, T tokens a step, without end:

    position(b, step, t) = (offset_b + step * T + t) mod N,    offset_b = shift(seed) + b * N / B

Nothing is kept between calls, so a run can be resumed at any step. A reset marks the first token of each document (so
the closing of the ring too), unless `reset_memory_per_sequence` is off, and the first token of every
`context_batches`-th step, 0 among them: contexts bounded in length are what the initial memory M_0 is learned from, as
it has a gradient only where a row begins. The target is the next token of the ring, across the ends of batches too;
only the separator has none, because the next document does not follow from it.

Where a row is a whole number of the memory's chunks, so is each document, by repeating its separator, and each offset:
a reset, which restarts the chunks of its row, then leaves all rows in step, which makes the parallel form fast.

The last `validation_fraction` of the characters is the validation text. It is cut off before anything else is done, the
training of a tokenizer included; a document that the cut goes through becomes two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from atlas_ref.config import DataConfig, RunConfig
from atlas_ref.data.answer_rows import open_answers
from atlas_ref.data.arithmetic import ArithmeticPairs
from atlas_ref.data.batch import IGNORED, Batch, BatchSource, sample_digest
from atlas_ref.data.corpus import Corpus, read_corpus, shipped_corpus
from atlas_ref.data.encoding import grid_of, tokenizer_for
from atlas_ref.data.episodes import open_episodes
from atlas_ref.data.facts import facts_of_text
from atlas_ref.data.identity import identify
from atlas_ref.data.mixture import open_sets
from atlas_ref.data.recall import RecallTask
from atlas_ref.data.relay import RelayTask
from atlas_ref.data.sudoku import SudokuTask
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.errors import UserError

__all__ = ["IGNORED", "Batch", "BatchSource", "Ring", "TextStreams", "open_source", "split_texts"]


def open_source(config: RunConfig, tokenizer: Tokenizer | None = None) -> BatchSource:
    """The source of batches that a configuration names.

    A tokenizer that is given (that of an earlier run) is used as it is; otherwise the configured one is made, which
    for bpe means trained on the training text. Raises UserError for data that cannot be read, is too short, or does not
    make the vocabulary of the model.
    """
    if config.data.source == "arithmetic":
        return ArithmeticPairs(config.data, config.train)
    if config.data.source == "relay":
        return RelayTask(config.data, config.train)
    if config.data.source == "sudoku":
        return SudokuTask(config.data, config.train)
    if config.data.source == "recall":
        return RecallTask(config.data, config.train)
    if config.data.source == "sets":
        return open_sets(config, tokenizer)
    if config.data.source == "answers":
        return open_answers(config, tokenizer)
    if config.data.source == "episodes" and not config.data.reads_episodes:
        return open_episodes(config, None, ([], []), None)
    corpus = open_corpus(config.data)
    training, validation = split_texts(corpus.documents, config.data.validation_fraction)
    if config.data.source == "episodes":
        return open_episodes(config, corpus, (training, validation), tokenizer)
    tokenizer = tokenizer_for(corpus.name, training, config, tokenizer)
    grid = grid_of(config)
    rings = Ring.of(training, tokenizer, grid), Ring.of(validation, tokenizer, grid)
    return TextStreams(*rings, tokenizer, config, corpus)


def open_corpus(data: DataConfig) -> Corpus:
    """The documents that a configuration names."""
    return read_corpus(data.path, data.text_key) if data.path else shipped_corpus()


def split_texts(texts: Sequence[str], validation_fraction: float) -> tuple[list[str], list[str]]:
    """Cut the last `validation_fraction` of all characters off; a document that the cut goes through becomes two."""
    whole, left = _cut(texts, validation_fraction)
    training, validation = [*texts[:whole]], [*texts[whole:]]
    if left:
        training.append(validation[0][:left])
        validation[0] = validation[0][left:]
    return training, validation


def repeated(texts: Sequence[str], validation_fraction: float) -> tuple[int, int]:
    """How many documents, whole or in part, are validated on, of which the first number is trained on as well."""
    whole, _ = _cut(texts, validation_fraction)
    trained = set(texts[:whole])
    return sum(text in trained for text in texts[whole:]), len(texts) - whole


def _cut(texts: Sequence[str], validation_fraction: float) -> tuple[int, int]:
    """How many documents lie before the cut, and how many characters of the next one do."""
    left = round(sum(map(len, texts)) * (1.0 - validation_fraction))
    for whole, text in enumerate(texts):
        if left < len(text):
            return whole, left
        left -= len(text)
    return len(texts), 0


class Ring(NamedTuple):
    """Tokens of documents laid end to end, and where each document starts."""

    tokens: NDArray[np.int64]
    starts: NDArray[np.bool_]

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer, grid: int) -> "Ring":
        """Encode the documents and put the separator after each, at least once and up to a multiple of `grid`."""
        documents = []
        for text in texts:
            tokens = tokenizer.encode(text)
            tokens += [tokenizer.separator] * (grid - len(tokens) % grid)
            documents.append(np.array(tokens, dtype=np.int64))
        starts = [np.arange(len(document)) == 0 for document in documents]
        none = np.zeros(0, dtype=np.int64)
        return cls(np.concatenate([none, *documents]), np.concatenate([none.astype(np.bool_), *starts]))


class TextStreams:
    """The training ring and the validation ring of a text (BatchSource)."""

    def __init__(
        self, training: Ring, validation: Ring, tokenizer: Tokenizer, config: RunConfig, corpus: Corpus
    ) -> None:
        self.vocab_size = tokenizer.vocab_size
        self.tokenizer: Tokenizer | None = tokenizer
        self._separator = tokenizer.separator
        self._length = config.data.sequence_length
        self._context, self._documents = config.data.context_batches, config.data.reset_memory_per_sequence
        self._training, self._validation = training, validation
        _check_length(corpus.name, training, validation, config)
        grid, rows = grid_of(config), config.train.batch_size
        size = len(training.tokens) // grid
        shift = int(np.random.Generator(np.random.Philox(key=config.train.seed)).integers(size))
        self._offsets = (shift + _even_offsets(size, rows)) % size * grid
        # Few rows when the validation text is short: each must have a whole sequence of its own.
        rows = min(rows, len(validation.tokens) // self._length)
        size = len(validation.tokens) // grid
        self._validation_offsets = _even_offsets(size, rows) * grid
        self.validation_batches = size // rows * grid // self._length
        sample = sample_digest((self.batch(0), self.validation(0)))
        key = config.data.text_key
        self.identity = identify(corpus.files, text_key=key, task={}, tokenizer=tokenizer.to_json(), sample=sample)
        self.training_tokens: int | None = len(training.tokens)
        filling = (training.tokens == self._separator).mean()
        twice = repeated(corpus.documents, config.data.validation_fraction)
        self.facts = facts_of_text(corpus, len(training.tokens), len(validation.tokens), float(filling), twice)

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self._window(self._training, self._offsets, step)

    def validation(self, index: int) -> Batch:
        """The validation batch of an index below validation_batches; it may have fewer rows than a training batch."""
        if not 0 <= index < self.validation_batches:
            raise ValueError(f"validation batch {index} does not exist; there are {self.validation_batches}")
        return self._window(self._validation, self._validation_offsets, index)

    def _window(self, ring: Ring, offsets: NDArray[np.int64], step: int) -> Batch:
        """T tokens of each row from position offset + step * T on, and the token after each."""
        size = len(ring.tokens)
        first = (offsets + step * self._length % size)[:, None]
        positions = (first + np.arange(self._length + 1)) % size
        tokens, following = ring.tokens[positions[:, :-1]], ring.tokens[positions[:, 1:]]
        targets = np.where(tokens == self._separator, IGNORED, following)
        reset = ring.starts[positions[:, :-1]] & self._documents
        if step % self._context == 0:
            reset[:, 0] = True
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(reset))


def _even_offsets(size: int, rows: int) -> NDArray[np.int64]:
    """Where each of the rows starts on a ring of `size`, as far from each other as can be."""
    return np.arange(rows, dtype=np.int64) * size // rows


def _check_length(name: str, training: Ring, validation: Ring, config: RunConfig) -> None:
    """Refuse a text whose streams would read the same tokens in one batch."""
    length = config.data.sequence_length
    needs = (("training", training, config.train.batch_size * length), ("validation", validation, length))
    for part, ring, need in needs:
        if len(ring.tokens) < need:
            raise UserError(
                f"{name}: is too short: its {part} part has {len(ring.tokens)} tokens, and {need} are needed; "
                "lower data.sequence_length or train.batch_size, or give more text."
            )

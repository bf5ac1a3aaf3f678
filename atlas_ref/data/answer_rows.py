"""Rows of prompts with answers as batches: a batch is a function of the seed and the step.

The rows (`packing`) of one set are read in rounds, each in an order of its own (`rounds`), and those of several sets
are drawn (`mixture`), so nothing is kept between calls. A reset marks the first token of each example, unless
`reset_memory_per_sequence` is off, and the first token of every `context_batches`-th step, 0 among them. The validation
rows are read in their order, the same for every seed, each once; the last batch is filled up with rows in which nothing
is scored.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from atlas_ref.config import RunConfig
from atlas_ref.data.answers import AnswerSet, read_answers, split_examples
from atlas_ref.data.batch import IGNORED, Batch, sample_digest
from atlas_ref.data.corpus import files_twice
from atlas_ref.data.encoding import grid_of, tokenizer_for
from atlas_ref.data.facts import SHOWN, Fact, some_of, what_is_left_out, what_is_read
from atlas_ref.data.identity import identify
from atlas_ref.data.packing import Rows
from atlas_ref.data.rounds import rows_of_step
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.errors import UserError
from atlas_ref.wording import counted


def open_answers(config: RunConfig, tokenizer: Tokenizer | None = None) -> "AnswerRows":
    """The batches of the prompts and answers that a configuration names.

    A tokenizer that is given (that of an earlier run) is used as it is. Raises UserError for data that cannot be read,
    do not fill a batch, or do not make the vocabulary of the model.
    """
    found = read_answers(config.data.path, config.data.answers)
    training, validation = split_examples(found.examples, config.data.validation_fraction)
    texts = [prompt + config.data.answers.joint + answer for prompt, answer in training]
    tokenizer = tokenizer_for(found.name, texts, config, tokenizer)
    shape = config.data.answers.joint, tokenizer, config.data.sequence_length, grid_of(config)
    rows = Rows.of(training, *shape), Rows.of(validation, *shape)
    key = f"{config.data.answers.prompt_key}, {config.data.answers.joint!r}, {config.data.answers.answer_key}"
    draw = partial(rows_of_step, batch=config.train.batch_size, rows=len(rows[0].tokens), seed=config.train.seed)
    return AnswerRows(found, rows, tokenizer, config, key, draw, facts_of_answers(found, *rows))


class AnswerRows:
    """The training rows and the validation rows of answers (BatchSource); `draw` says which are trained on when."""

    def __init__(
        self,
        found: AnswerSet,
        rows: tuple[Rows, Rows],
        tokenizer: Tokenizer,
        config: RunConfig,
        text_key: str,
        draw: Callable[[int], NDArray[np.int64]],
        facts: list[Fact],
    ) -> None:
        self.vocab_size = tokenizer.vocab_size
        self.tokenizer: Tokenizer | None = tokenizer
        self.training, self._validation = rows
        self._draw, self.facts = draw, facts
        self._context, self._documents = config.data.context_batches, config.data.reset_memory_per_sequence
        check_rows(found.name, *rows, config)
        size = len(self._validation.tokens)
        self._validation_rows = min(config.train.batch_size, size)
        self.validation_batches = -(-size // self._validation_rows)
        self.training_tokens: int | None = self.training.tokens.size
        self.identity = identify(
            found.files,
            text_key=text_key,
            task={},
            tokenizer=tokenizer.to_json(),
            sample=sample_digest((self.batch(0), self.validation(0))),
        )

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self._rows(self.training, self._draw(step), step)

    def validation(self, index: int) -> Batch:
        """The validation batch of an index below validation_batches; it may have fewer rows than a training batch."""
        if not 0 <= index < self.validation_batches:
            raise ValueError(f"validation batch {index} does not exist; there are {self.validation_batches}")
        numbers = index * self._validation_rows + np.arange(self._validation_rows)
        return self._rows(self._validation, numbers, index)

    def _rows(self, rows: Rows, numbers: NDArray[np.int64], step: int) -> Batch:
        """The rows of these numbers, with nothing scored in those past the last."""
        there = (numbers < len(rows.tokens))[:, None]
        numbers = np.minimum(numbers, len(rows.tokens) - 1)
        targets = np.where(there, rows.targets[numbers], IGNORED)
        reset = rows.starts[numbers] & self._documents
        reset[:, 0] |= step % self._context == 0
        return Batch(torch.from_numpy(rows.tokens[numbers]), torch.from_numpy(targets), torch.from_numpy(reset))


def check_rows(name: str, training: Rows, validation: Rows, config: RunConfig) -> None:
    """Refuse answers that do not fill a batch with different rows, or of which none is left to validate on."""
    length = config.data.sequence_length
    for part, rows, need in (("training", training, config.train.batch_size), ("validation", validation, 1)):
        if len(rows.tokens) < need:
            raise UserError(
                f"{name}: is too short: its {part} part fills {len(rows.tokens)} rows of {length} tokens, and {need} "
                f"are needed ({rows.counts.skipped} of its {rows.counts.examples} answers are longer than a row); give "
                "more examples, or other values of data.sequence_length and train.batch_size."
            )


def facts_of_answers(found: AnswerSet, training: Rows, validation: Rows) -> list[Fact]:
    """What there is to say of prompts with answers that were laid in rows: what is cut and skipped among it."""
    parts = {"train on": training, "validate on": validation}
    examples = ", ".join(f"{rows.counts.examples - rows.counts.skipped:,} to {use}" for use, rows in parts.items())
    scored = ", ".join(f"{(rows.targets != IGNORED).sum():,} to {use}" for use, rows in parts.items())
    facts = [
        Fact("data", what_is_read(found.name, found.files, counted(len(found.examples), "prompt") + " with an answer")),
        Fact("answers", examples),
        Fact("scored", f"{scored} of {training.tokens.size + validation.tokens.size:,} tokens in rows"),
    ]
    facts += [Fact("not read", text) for text in what_is_left_out(found.left_out)]
    cut, skipped = (sum(part) for part in zip(*(rows.counts[1:] for rows in parts.values()), strict=True))
    if found.empty:
        facts.append(Fact("empty", f"{counted(found.empty, 'example')} with a blank prompt or answer, skipped"))
    if cut:
        facts.append(Fact("cut", f"{counted(cut, 'prompt')} at the beginning, so that the answer fits in a row"))
    if skipped:
        facts.append(Fact("skipped", f"{counted(skipped, 'example')}, whose answer is longer than a row"))
    facts += [Fact("twice", f"{some_of(names)} hold the same") for names in files_twice(found.files)[:SHOWN]]
    if repeated := len(found.examples) - len(set(found.examples)):
        facts.append(Fact("twice", f"{counted(repeated, 'example')} more than once, whichever part they are in"))
    return facts

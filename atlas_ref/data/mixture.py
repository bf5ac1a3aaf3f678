"""Several public data sets as one source: a row of a step is drawn from a set, and then from the rows of the set.

With n_s examples to train on in set s, row b of a step is

    s with probability sqrt(n_s) / sum sqrt(n),    then each of its rows alike,    from Philox(seed) at the step alone

so that a set a hundred times as large is read ten times as often, and a batch is a function of the seed and the step.
Test splits are not opened. Where a set has a validation split, that is validated on; otherwise `validation_fraction` of
its examples, those whose prompt has a small checksum: the same ones for every seed, and all that share a prompt.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlas_ref.config import RunConfig
from atlas_ref.data.adapters.entries import row_kind
from atlas_ref.data.adapters.finding import Part, find_sets
from atlas_ref.data.adapters.row import Example
from atlas_ref.data.answer_rows import AnswerRows
from atlas_ref.data.answers import AnswerSet, PromptAnswer
from atlas_ref.data.encoding import grid_of, tokenizer_for
from atlas_ref.data.facts import Fact, what_is_left_out
from atlas_ref.data.identity import FileIdentity
from atlas_ref.data.packing import Rows
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.errors import UserError
from atlas_ref.reading import opened
from atlas_ref.wording import counted, visible

BLOCK = 2**20
"""Bytes of a file that are read at a time for its checksum."""


class Draw(NamedTuple):
    """Which rows are trained on at a step."""

    seed: int
    batch_size: int
    rows: tuple[int, ...]
    """Rows of each set, which stand one set behind the other."""
    examples: tuple[int, ...]
    """Examples in them."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """How likely each set is."""
        roots = np.sqrt(np.array(self.examples, dtype=np.float64))
        # One example has a root of 1; where there is none, nothing is drawn (`check_rows`).
        shares: NDArray[np.float64] = roots / max(roots.sum(), 1.0)
        return shares

    def numbers(self, step: int) -> NDArray[np.int64]:
        """The numbers of the rows of a step, [batch]."""
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, step, 1]))
        sets = generator.choice(len(self.rows), self.batch_size, p=self.shares)
        sizes = np.array(self.rows)
        first = np.cumsum(sizes) - sizes
        numbers: NDArray[np.int64] = first[sets] + generator.integers(sizes[sets])
        return numbers


class Sides(NamedTuple):
    """The examples of a set to train on and to validate on, and how many rows are none, by reason."""

    training: list[Example]
    validation: list[Example]
    skipped: Counter[str]


def open_sets(config: RunConfig, tokenizer: Tokenizer | None = None) -> AnswerRows:
    """The batches of the public data sets that lie where a configuration says.

    A tokenizer that is given (that of an earlier run) is used as it is. Raises UserError for data that cannot be read,
    of which nothing is to train on, or that do not fill a batch.
    """
    found = find_sets(Path(config.data.path))
    parts = [part for part in found.parts if part.split != "test"]
    trained = {part.data_set.name for part in parts if part.split != "validation"}
    parts = [part for part in parts if part.data_set.name in trained]
    if not parts:
        raise UserError(f"{config.data.path}: holds nothing to train on: test and validation splits are judged by.")
    sides = sides_of(parts, config.data.sequence_length, config.data.validation_fraction)
    joint = config.data.answers.joint
    texts = [example.prompt + joint + example.answer for side in sides.values() for example in side.training]
    tokenizer = tokenizer_for(config.data.path, texts, config, tokenizer)
    laid = {
        name: [_laid(some, joint, tokenizer, config) for some in (side.training, side.validation)]
        for name, side in sides.items()
    }
    # A set of which no answer fits is never drawn.
    filled = [name for name, (training, _) in laid.items() if len(training.tokens)] or [*laid][:1]
    training = [laid[name][0] for name in filled]
    sizes = tuple(len(rows.tokens) for rows in training)
    draw = Draw(config.train.seed, config.train.batch_size, sizes, tuple(map(_fitting, training)))
    facts = [*_facts(draw, filled, sides, laid), *(Fact("not read", text) for text in what_is_left_out(found.left_out))]
    answers = AnswerSet(config.data.path, [], [*_identities(parts, Path(config.data.path))], found.left_out, 0)
    rows = Rows.joined(training), Rows.joined([validation for _, validation in laid.values()])
    return AnswerRows(answers, rows, tokenizer, config, f"sets, {joint!r}", draw.numbers, facts)


def sides_of(parts: list[Part], room: int, fraction: float) -> dict[str, Sides]:
    """The examples of each set, those to validate on apart; test splits must not be among the parts."""
    sides: dict[str, Sides] = defaultdict(lambda: Sides([], [], Counter()))
    divided = {part.data_set.name for part in parts if part.split == "validation"}
    for part in parts:
        name = part.data_set.name
        side = sides[name]
        for example in part.examples(room):
            if not isinstance(example, Example):
                side.skipped[example.value] += 1
            elif part.split == "validation" or (name not in divided and is_validated(example, fraction)):
                side.validation.append(example)
            else:
                side.training.append(example)
    return dict(sides)


def is_validated(example: Example, fraction: float) -> bool:
    """Return whether an example of a set without a validation split is validated on: by the checksum of its prompt."""
    digest = hashlib.sha256((example.prompt or example.answer).encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def _laid(examples: list[Example], joint: str, tokenizer: Tokenizer, config: RunConfig) -> Rows:
    """Examples in rows: the answers alone scored, and all of those without a prompt."""
    length, grid = config.data.sequence_length, grid_of(config)
    prompted = [PromptAnswer(example.prompt, example.answer) for example in examples if example.prompt]
    texts = [example.answer for example in examples if not example.prompt]
    answers = Rows.of(prompted, joint, tokenizer, length, grid)
    return Rows.joined([answers, Rows.of_texts(texts, tokenizer, length, grid)])


def _fitting(rows: Rows) -> int:
    return rows.counts.examples - rows.counts.skipped


def _identities(parts: list[Part], root: Path) -> Iterator[FileIdentity]:
    """Yield what is read of each file, and its checksum, which is taken a block at a time."""
    for file in (file for part in parts for file in part.files):
        with opened(file) as stream:
            digest = hashlib.sha256()
            while block := stream.read(BLOCK):
                digest.update(block)
            name = file.name if file == root else file.relative_to(root).as_posix()
            kind = row_kind(file.name) or ""
            yield FileIdentity(name=visible(name), kind=kind, bytes=stream.tell(), sha256=digest.hexdigest())


def _facts(draw: Draw, filled: list[str], sides: dict[str, Sides], laid: dict[str, list[Rows]]) -> Iterator[Fact]:
    """Yield what there is to say of each set: its share, its examples, what is cut, skipped or too long."""
    shares = dict(zip(filled, draw.shares, strict=True))
    for name, (training, validation) in laid.items():
        size = f"{_fitting(training):,} to train on, {_fitting(validation):,} to validate on"
        yield Fact("sets", f"{name}: {shares.get(name, 0.0):.1%} of the rows; {size}")
    for name, rows in laid.items():
        cut, skipped = (sum(part.counts[at] for part in rows) for at in (1, 2))
        if cut:
            yield Fact("cut", f"{name}: {counted(cut, 'prompt')} at the beginning, so that the answer fits in a row")
        if skipped:
            yield Fact("skipped", f"{name}: {counted(skipped, 'example')}, whose answer is longer than a row")
        for reason, number in sides[name].skipped.items():
            yield Fact("skipped", f"{name}: {counted(number, 'row')}, {reason}")

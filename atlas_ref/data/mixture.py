"""Several public data sets as one source: rows are drawn from sets (`drawing`), and what is judged by is kept apart.

Test splits are not opened. Where a set has a validation split, that is validated on; otherwise `validation_fraction` of
its examples, those whose prompt has a small checksum: the same ones for every seed, and all that share a prompt.
Validation rows stand in an order that mixes the sets, the same for every seed, so that its first batches see all of
them.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atlas_ref.config import RunConfig
from atlas_ref.config.curriculum import sets_of
from atlas_ref.data.adapters.entries import row_kind
from atlas_ref.data.adapters.finding import Part, find_sets
from atlas_ref.data.adapters.row import Example
from atlas_ref.data.adapters.table import SETS
from atlas_ref.data.answer_rows import AnswerRows
from atlas_ref.data.answers import AnswerSet, PromptAnswer
from atlas_ref.data.drawing import Course, Draw
from atlas_ref.data.encoding import grid_of, tokenizer_for
from atlas_ref.data.facts import Fact, what_is_left_out
from atlas_ref.data.folder import LeftOut
from atlas_ref.data.identity import FileIdentity
from atlas_ref.data.packing import Rows
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.errors import UserError
from atlas_ref.reading import opened
from atlas_ref.wording import counted, visible

BLOCK = 2**20
"""Bytes of a file that are read at a time for its checksum."""


class Sides(NamedTuple):
    """The examples of a set to train on and to validate on, and how many rows are none, by reason."""

    training: list[Example]
    validation: list[Example]
    skipped: Counter[str]


class SetRows(AnswerRows):
    """The rows of the sets (BatchSource), what each stage of a curriculum begins with, and what is validated on."""

    course: Course
    asked: dict[str, list[Example]]
    """The validation examples of each set, to be answered and judged."""

    def border(self, step: int) -> str | None:
        """Return what there is to say where a stage begins with a step (0-based), None elsewhere."""
        return self.course.border(step)


def open_sets(config: RunConfig, tokenizer: Tokenizer | None = None) -> SetRows:
    """The batches of the public data sets that lie where a configuration says.

    A tokenizer that is given (that of an earlier run) is used as it is. Raises UserError for data that cannot be read,
    of which nothing is to train on, or that do not fill a batch.
    """
    data = config.data
    parts, left_out = trained_parts(Path(data.path))
    sides = sides_of(parts, data.sequence_length, data.validation_fraction)
    joint = data.answers.joint
    texts = [example.prompt + joint + example.answer for side in sides.values() for example in side.training]
    tokenizer = tokenizer_for(data.path, texts, config, tokenizer)
    laid = {
        name: [_laid(some, joint, tokenizer, config) for some in (side.training, side.validation)]
        for name, side in sides.items()
    }
    # A set of which no answer fits is never drawn.
    filled = tuple(name for name, (training, _) in laid.items() if len(training.tokens)) or (next(iter(laid)),)
    training = [laid[name][0] for name in filled]
    sizes = tuple(len(rows.tokens) for rows in training)
    draw = Draw(config.train.seed, config.train.batch_size, sizes, tuple(map(_fitting, training)))
    course = Course.of(data.curriculum, filled, draw)
    check_beginning(data.path, course)
    facts = [*_facts(course, sides, laid), *(Fact("not read", text) for text in what_is_left_out(left_out))]
    answers = AnswerSet(data.path, [], [*_identities(parts, Path(data.path))], left_out, 0)
    rows = Rows.joined(training), _mixed(Rows.joined([validation for _, validation in laid.values()]))
    source = SetRows(answers, rows, tokenizer, config, f"sets, {joint!r}", course.numbers, facts)
    source.course, source.asked = course, {name: side.validation for name, side in sides.items()}
    return source


def trained_parts(path: Path) -> tuple[list[Part], list[LeftOut]]:
    """Return the training and validation splits of the sets below a path that have something to train on.

    Raises UserError where there is none.
    """
    if not path.exists():
        raise UserError(
            f"{path}: does not exist; name a folder of data sets, which nothing downloads (docs/data-sets.md). Without "
            "any, tiny and most presets train on the shipped text, recall, relay, sudoku and grok-square on what is "
            "generated."
        )
    found = find_sets(path)
    parts = [part for part in found.parts if part.split != "test"]
    trained = {part.data_set.name for part in parts if part.split != "validation"}
    parts = [part for part in parts if part.data_set.name in trained]
    if not parts:
        raise UserError(f"{path}: holds nothing to train on: test and validation splits are judged by.")
    return parts, found.left_out


def check_beginning(name: str, course: Course) -> None:
    """Raise UserError where a curriculum would begin with nothing."""
    if not any(course.draws[0].examples) and any(course.draws[-1].examples):
        raise UserError(
            f"{name}: holds nothing to train on of {', '.join(sets_of(1))}, with which the curriculum begins; add one, "
            "or set data.curriculum.epoch_steps=0."
        )


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


def _mixed(rows: Rows) -> Rows:
    """The rows in an order that depends on their number alone."""
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(rows.tokens))
    return Rows(rows.tokens[order], rows.targets[order], rows.starts[order], rows.counts)


def _facts(course: Course, sides: dict[str, Sides], laid: dict[str, list[Rows]]) -> Iterator[Fact]:
    """Yield what there is to say of each set: its share, its examples, what is cut, skipped or too long, or absent."""
    shares = dict(zip(course.names, zip(*(draw.shares for draw in course.draws), strict=True), strict=True))
    none = (0.0,) * len(course.draws)
    stages = " in the stages" if len(course.draws) > 1 else ""
    for name, (training, validation) in laid.items():
        size = f"{_fitting(training):,} to train on, {_fitting(validation):,} to validate on"
        share = ", ".join(f"{each:.1%}" for each in shares.get(name, none))
        yield Fact("sets", f"{name}: {share} of the rows{stages}; {size}")
    if absent := [each.name for each in SETS if each.name not in laid]:
        yield Fact("absent", ", ".join(absent))
    for name, rows in laid.items():
        cut, skipped = (sum(part.counts[at] for part in rows) for at in (1, 2))
        if cut:
            yield Fact("cut", f"{name}: {counted(cut, 'prompt')} at the beginning, so that the answer fits in a row")
        if skipped:
            yield Fact("skipped", f"{name}: {counted(skipped, 'example')}, whose answer is longer than a row")
        for reason, number in sides[name].skipped.items():
            yield Fact("skipped", f"{name}: {counted(number, 'row')}, {reason}")

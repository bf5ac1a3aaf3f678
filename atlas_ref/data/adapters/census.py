"""What is in a folder of data sets: how many rows, how many examples, and why the others are none."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from atlas_ref.data.adapters.finding import Part, find_sets
from atlas_ref.data.adapters.row import Example, Row
from atlas_ref.data.adapters.table import SETS, DataSet
from atlas_ref.data.folder import LeftOut
from atlas_ref.errors import UserError

TOO_LONG = "answer longer than a row"


class Counted(NamedTuple):
    """What a part comes to; counts go as far as the fault, where there is one."""

    part: Part
    rows: int
    examples: int
    cut: int
    """Examples whose prompt loses its beginning, so that the answer fits."""
    skipped: dict[str, int]
    """Reasons, each with how many rows."""
    fault: str | None
    """The sentence on the first row that cannot be read."""


class Census(NamedTuple):
    """The parts of a folder, the sets that are not there, and what is not read."""

    counted: list[Counted]
    absent: list[DataSet]
    left_out: list[LeftOut]

    @property
    def faults(self) -> list[str]:
        """The sentences on what cannot be read."""
        return [each.fault for each in self.counted if each.fault]


def take_census(path: Path, room: int) -> Census:
    """Count what lies at a path for rows of `room` bytes.

    A part with a row that cannot be read is counted up to it, and the others are counted all the same. Raises UserError
    where there is none of the sets at all.
    """
    found = find_sets(path)
    there = {part.data_set.name for part in found.parts}
    absent = [each for each in SETS if each.name not in there]
    return Census([count(part, room) for part in found.parts], absent, found.left_out)


def count(part: Part, room: int) -> Counted:
    """Count the rows and examples of a part.

    An answer is read whole or not at all: one that leaves no byte for its prompt beside its end is skipped, while a
    prompt may be cut. The articles of a text are neither: they are read a row after the other.
    """
    rows, reasons, examples, cut = [0], Counter[str](), 0, 0
    fault = None
    try:
        for example in part.data_set.read(_each_counted(part.rows(room), rows)):
            if not isinstance(example, Example):
                reasons[example.value] += 1
            elif example.prompt and left_for_prompt(example, room) < 1:
                reasons[TOO_LONG] += 1
            else:
                examples += 1
                cut += bool(example.prompt) and len(example.prompt.encode()) + 1 > left_for_prompt(example, room)
    except UserError as error:
        fault = str(error)
    return Counted(part, rows[0], examples, cut, dict(sorted(reasons.items())), fault)


def left_for_prompt(example: Example, room: int) -> int:
    """Return how many of `room` bytes the answer and its end leave for the prompt and the newline behind it."""
    return room - len(example.answer.encode()) - 1


def _each_counted(rows: Iterable[Row], seen: list[int]) -> Iterator[Row]:
    for row in rows:
        seen[0] += 1
        yield row

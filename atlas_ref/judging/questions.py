"""What is asked of a folder of public data sets: the examples of one split, of which none is trained on.

validation    the validation split, and of a set without one the share of its examples that a training keeps apart
test          the test split; a set without one is absent, as is one whose labels are not published
"""

from collections import Counter, defaultdict
from collections.abc import Set
from pathlib import Path
from typing import Literal, NamedTuple

from atlas_ref.data.adapters.finding import Part, find_sets
from atlas_ref.data.adapters.row import Example
from atlas_ref.data.adapters.table import SETS
from atlas_ref.data.mixture import is_validated
from atlas_ref.errors import UserError

Held = Literal["validation", "test"]
"""The splits that nothing is trained on."""


class Questions(NamedTuple):
    """The examples of each set that there is, and what there is none of."""

    asked: dict[str, list[Example]]
    absent: list[str]
    """Sets without an example of the split, in the order of all sets."""
    skipped: dict[str, Counter[str]]
    """Rows that are no examples, by set and reason."""


def read_questions(path: Path, split: Held, room: int, fraction: float) -> Questions:
    """Return what is asked of the sets at a path; `room` is how many bytes a prompt, its answer and the end have.

    Of a set without a validation split `fraction` of the examples is asked, by the checksum of their prompts
    (`data.mixture`). Raises UserError for rows that cannot be read, and where there is nothing to ask.
    """
    parts = find_sets(path).parts
    divided = {part.data_set.name for part in parts if part.split == "validation"}
    asked: dict[str, list[Example]] = defaultdict(list)
    skipped: dict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        share, name = _share(part, split, divided, fraction), part.data_set.name
        # What nothing is asked of is not read.
        for example in part.examples(room) if share else ():
            if not isinstance(example, Example):
                skipped[name][example.value] += 1
            elif is_validated(example, share):
                asked[name].append(example)
    if not asked:
        raise UserError(f"{path}: has no example of a {split} split to ask.")
    return Questions(dict(asked), [each.name for each in SETS if each.name not in asked], dict(skipped))


def _share(part: Part, split: Held, divided: Set[str], fraction: float) -> float:
    """How much of a part is asked; `divided` are the sets with a validation split."""
    if split == "test" or part.split in ("test", "validation"):
        return float(part.split == split)
    return 0.0 if part.data_set.name in divided else fraction

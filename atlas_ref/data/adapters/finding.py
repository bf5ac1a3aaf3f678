"""Which of the fourteen sets lie in a folder, in which files, and which split of them each file is.

The names of a file and of the folders it lies in say it, the nearest first: `gsm8k/main/train-00000-of-00001.parquet`,
`ai2_arc/ARC-Easy/test.jsonl`, `gsm8k_test.jsonl`, `svamp.json`. A name is compared by its letters and digits.
What would be read twice is read once, and what is left out is listed with the reason:

    - of the configurations of a set the preferred one, and of copies in several formats or folders the first
    - a file without a split, where others of its set have one: it may hold their rows
    - a description beside the data, and what is named after no set, or after two
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path, PurePath
from typing import NamedTuple

from atlas_ref.data.adapters.entries import entries, row_kind
from atlas_ref.data.adapters.row import Example, Row, Skip
from atlas_ref.data.adapters.table import SETS, DataSet
from atlas_ref.data.folder import LeftOut, files_below
from atlas_ref.data.formats import PACKED, shown_kind
from atlas_ref.errors import UserError
from atlas_ref.wording import visible

SPLITS = {"test": ("test",), "validation": ("validation", "valid", "val", "dev"), "train": ("train",)}
"""Words that name a split; where a name has two, the one that is trained on least."""
PARTS = ("train", "validation", "test", "whole")
"""The parts of a set, in the order in which they are told."""
ORDER = {"parquet": 0, "jsonl": 1, "jsonl.gz": 2, "json": 3, "json.gz": 4}
"""Which of several copies of a split is read."""
DESCRIPTIONS = {"datasetinfo", "datasetinfos", "datasetdict", "state"}
"""Names of files beside the data that say what they are."""


class Part(NamedTuple):
    """A split of a set, and its files in their order."""

    data_set: DataSet
    split: str
    """`train`, `validation`, `test` or, where no name says it or the set has but one, `whole`."""
    files: tuple[Path, ...]

    def examples(self, room: int) -> Iterator[Example | Skip]:
        """Yield an example, or why it is none, for each row (for each article of `wikitext`).

        `room` is how many bytes prompt, answer and end have. Raises UserError that names file, row and field.
        """
        return self.data_set.read(self.rows(room))

    def rows(self, room: int) -> Iterator[Row]:
        """Yield the rows of all files, each as soon as it is read."""
        for file in self.files:
            for place, fields in entries(file):
                if not isinstance(fields, dict):
                    raise UserError(f"{visible(place)}: must be an object; it is {shown_kind(fields)}.")
                yield Row(visible(place), self.data_set.name, self.split, room, fields)


class Found(NamedTuple):
    """The parts of all sets, in the order of SETS and PARTS, and what is not read."""

    parts: list[Part]
    left_out: list[LeftOut]


class _Named(NamedTuple):
    """A file and what its names say."""

    file: Path
    name: str
    data_set: DataSet
    configuration: str
    split: str

    @property
    def copy(self) -> tuple[int, str]:
        """What copies of a split differ in: the format, then the folder."""
        return ORDER[row_kind(self.file.name) or ""], str(self.file.parent)


def find_sets(path: Path) -> Found:
    """Return the sets in a folder, or in the one file that is named; nothing but names is looked at.

    Raises UserError where there is nothing to read, or no set among it.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist; name a folder of data sets, or a file of one.")
    files, left_out = files_below(path, row_kind) if path.is_dir() else ([path], [])
    if not path.is_dir() and row_kind(path.name) is None:
        raise UserError(f"{path}: must end in .parquet, .jsonl or .json, the last two packed by .gz or not.")
    # What is named itself says what is in it where nothing below does.
    whole = path.resolve()
    outer = [whole.name] if path.is_dir() else [whole.parent.name, whole.parent.parent.name]
    named = []
    for file in files:
        inner = PurePath(file.name) if file == path else file.relative_to(path)
        found = _named(file, inner, outer)
        if isinstance(found, str):
            left_out.append(LeftOut(visible(inner.as_posix()), found))
        else:
            named.append(found)
    if not named:
        raise UserError(
            f"{path}: holds none of the {len(SETS)} sets: a file, or a folder around it, must be named after one, as "
            f"in gsm8k/train.jsonl; they are {', '.join(each.name for each in SETS)}."
        )
    parts = [*_parts(named, left_out)]
    return Found(parts, sorted(left_out))


def _named(file: Path, inner: PurePath, outer: Sequence[str]) -> _Named | str:
    """What the names of a file say, or why it is not read."""
    stem = inner.name[: -len("".join(inner.suffixes[-2:] if inner.name.lower().endswith(PACKED) else inner.suffix))]
    words = [_words(part) for part in (stem, *reversed(inner.parts[:-1]))]
    if "".join(words[0]) in DESCRIPTIONS:
        return "a description of data"
    for some in (*words, *map(_words, outer)):
        sets = [each for each in SETS if any(_holds(some, name) for name in each.names)]
        if len(sets) > 1:
            return f"named after {' and '.join(each.name for each in sets)}"
        if sets:
            (data_set,) = sets
            # The place of all data has a split in its name only if it has the set there too.
            words += [] if some in words else [some]
            break
    else:
        return "named after no set"
    splits = (split for some in words for split, names in SPLITS.items() if any(name in some for name in names))
    preferred = (each for each in data_set.prefers if any(_holds(some, each) for some in words))
    split = next(splits, "whole")
    split = "whole" if split == data_set.whole else split
    return _Named(file, visible(inner.as_posix()), data_set, next(preferred, ""), split)


def _parts(named: Sequence[_Named], left_out: list[LeftOut]) -> Iterator[Part]:
    """Yield each part once, and list what would be read a second time."""
    by_set: dict[str, list[_Named]] = defaultdict(list)
    for each in named:
        by_set[each.data_set.name].append(each)
    for data_set in SETS:
        some = by_set[data_set.name]
        there = {each.configuration for each in some}
        chosen = next((name for name in (*data_set.prefers, "") if name in there), "")
        by_split: dict[str, list[_Named]] = defaultdict(list)
        for each in some:
            if each.configuration == chosen:
                by_split[each.split].append(each)
            else:
                left_out.append(LeftOut(each.name, f"{data_set.name} is read of its configuration {chosen}"))
        if len(by_split) > 1:
            reason = f"no split in its name, where other files of {data_set.name} have one"
            left_out += [LeftOut(each.name, reason) for each in by_split.pop("whole", ())]
        for split in sorted(by_split, key=PARTS.index):
            files = by_split[split]
            first = min(each.copy for each in files)
            left_out += [
                LeftOut(each.name, f"a copy of {data_set.name} {split}") for each in files if each.copy != first
            ]
            yield Part(data_set, split, tuple(each.file for each in files if each.copy == first))


def _words(name: str) -> list[str]:
    """The words and numbers of a name."""
    return re.findall(r"[a-z]+|[0-9]+", name.lower())


def _holds(words: Sequence[str], name: str) -> bool:
    """Whether neighbouring words make a name: `code_x_glue` holds codexglue, `dropbox` does not hold drop."""
    return any("".join(words[start:end]) == name for start, end in combinations(range(len(words) + 1), 2))

"""A row of a public data set and what is made of it: an example, or the reason why it is none.

A field that is missing or of another kind is refused in one sentence with file, row and field. The exports of a hub and
the files of the authors differ: what is nested is a table of lists in one, a list of tables or of pairs in the other
(`Row.columns`), and what is a number in one is text in the other (`Row.written`). Both are read, in this file alone.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from atlas_ref.data.formats import HALF, SHOWN, shown_kind, written_number
from atlas_ref.errors import UserError
from atlas_ref.wording import visible


class Example(NamedTuple):
    """What is given, what is to be said then, and what a judgement compares it with.

    The loss is on the answer and its end alone; an example with an empty prompt is all answer.
    """

    prompt: str
    answer: str
    gold: str
    """What a right answer comes to: a number, a span, the answer itself."""
    choices: tuple[str, ...] = ()
    """The answers among which a model chooses; empty where it has to write one."""
    right: int = 0
    """Which of the choices is the answer."""
    checks: tuple[str, ...] = ()
    """Python that runs without an error behind a right program; empty where the answer is none."""


class Skip(StrEnum):
    """Why a row is no example. Each is counted; none is trained on."""

    HIDDEN = "label not published"
    BLANK = "blank prompt or answer"
    NO_SPAN = "no span answers it"
    NO_NUMBER = "answer is not one number"
    NO_TEST = "no test to show"
    NOT_PYTHON = "not Python"
    UNREADABLE = "code that cannot be taken apart"


class Row(NamedTuple):
    """One row, and where it stands."""

    place: str
    """File and row, as messages name them."""
    name: str
    """The data set."""
    split: str
    """`train`, `validation`, `test`, or empty."""
    room: int
    """Bytes that prompt, answer and end may take together: what is left out of a long context is left out for it."""
    fields: Mapping[str, object]

    def text(self, *names: str) -> str:
        """The text under the first of some names that is there, "" where it is blank; a missing one is refused."""
        value = self._value(names)
        if not isinstance(value, str) or HALF.search(value):
            raise self.refused(names[0], "must be Unicode text", value)
        return value.strip() and value

    def written(self, *names: str) -> str:
        """Text, or a finite number as text: 51.0 as 51."""
        value = written_number(self._value(names))
        if not isinstance(value, str) or HALF.search(value):
            raise self.refused(names[0], "must be Unicode text or a finite number", value)
        return value.strip()

    def label(self, *names: str) -> str | None:
        """The label as text, None where it is hidden: blank, null or -1, or missing in a test split."""
        if self.split == "test" and not self._has(names):
            return None
        value = self._value(names)
        if value is None:
            return None
        if isinstance(value, bool):
            return "yes" if value else "no"
        found = self.written(*names)
        return None if found in ("", "-1") else found

    def yes_or_no(self, *names: str) -> str | None:
        """An answer that is true or false, in whichever of their words, as yes or no; None where it is hidden."""
        found = self.label(*names)
        word = None if found is None else WORDS.get(found.lower())
        if found is not None and word is None:
            raise self.refused(names[0], "must be true or false", self._value(names))
        return word

    def list_of(self, name: str) -> list[str]:
        """A list of texts."""
        return self.texts(name, self._value([name]))

    def texts(self, name: str, value: object) -> list[str]:
        """A value that must be a list of texts, or a single one; `name` is its field in a message."""
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
            raise self.refused(name, "must be a list of texts", value)
        return [*parts]

    def columns(self, name: str, *inner: str) -> list[list[object]]:
        """What is nested under a name, a list for each inner name, all of one length.

        It may be a table of lists {a: [..], b: [..]}, a list of tables [{a: .., b: ..}, ..], or a list of lists
        [[.., ..], ..] in the order of `inner`.
        """
        return self.columns_of(name, self._value([name]), inner)

    def columns_of(self, name: str, value: object, inner: Sequence[str]) -> list[list[object]]:
        """`columns` of a value that is there already."""
        if isinstance(value, Mapping):
            found = [value.get(each) for each in inner]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found = [[_part(entry, each, at) for entry in value] for at, each in enumerate(inner)]
        else:
            found = [None]
        lists = [[*part] for part in found if isinstance(part, Sequence) and not isinstance(part, str)]
        if len(lists) < len(inner) or len(set(map(len, lists))) != 1 or any(MISSING in part for part in lists):
            wanted = " and ".join(f'"{each}"' for each in inner)
            raise self.refused(name, f"must hold {wanted}, as lists of one length or as a list of objects", value)
        return lists

    def number(self, *names: str) -> int | None:
        """A label that is an index, as a number or as text; None where it is hidden."""
        found = self.label(*names)
        if found is None:
            return None
        if not found.isascii() or not found.isdigit() or len(found) > MOST_DIGITS:
            raise self.refused(names[0], "must be an index", found)
        return int(found)

    def refused(self, name: str, wanted: str, value: object) -> UserError:
        """The sentence on a field that is there, and is not what it must be."""
        if isinstance(value, str) and not HALF.search(value):
            shown = f'"{visible(value[:40])}"'
        else:
            shown = str(value) if type(value) is int else shown_kind(value)
        return UserError(f'{self.place}: "{name}" of {self.name} {wanted}; it is {shown}.')

    def _has(self, names: Sequence[str]) -> bool:
        return any(name in self.fields for name in names)

    def _value(self, names: Sequence[str]) -> object:
        for name in names:
            if name in self.fields:
                return self.fields[name]
        wanted = " or ".join(f'"{name}"' for name in names)
        keys = [f'"{visible(str(key)[:64])}"' for key in self.fields]
        more = f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
        has = ", ".join(keys[:SHOWN]) or "no fields"
        raise UserError(f"{self.place}: {self.name} must have the field {wanted}; it has {has}{more}.")


WORDS = {"yes": "yes", "true": "yes", "1": "yes", "no": "no", "false": "no", "0": "no"}
"""How true and false are written."""
MOST_DIGITS = 9
"""Digits of an index."""
MISSING = object()


def _part(entry: object, name: str, at: int) -> object:
    """What an entry of a list has under a name or, where it is a list itself, at a place."""
    if isinstance(entry, Mapping):
        return entry.get(name, MISSING)
    if isinstance(entry, Sequence) and not isinstance(entry, str) and at < len(entry):
        return entry[at]
    return MISSING

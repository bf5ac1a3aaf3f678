"""What was found of each subject, written down as it is found: a proof that was stopped goes on where it stopped.

The file has one line of JSON for each subject: the part, its name, whether something is wrong with it, and what was
found. What is wrong is tried again by the next run, which may have a new test; the last line of a subject counts.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Generic

from atlas_ref.errors import UserError
from spec_tests.selfproof.sharing import Result, Subject, shared

Piece = Sequence[tuple[str, Subject]]
"""Subjects with their names."""


@dataclass(frozen=True)
class Trial(Generic[Subject, Result]):
    """How the subjects of a part are tried: `work` on some that follow each other and are `alike`, at most `piece`.

    Results are plain, as JSON is; `wrong` says which of them the suite must be mended for.
    """

    part: str
    name: Callable[[Subject], str]
    work: Callable[[Sequence[Subject]], Iterable[Result]]
    wrong: Callable[[Result], bool]
    piece: int = 1
    alike: Callable[[Subject], object] = id


@dataclass
class Kept:
    """The file of what was found before, if one is named, and what is added to it."""

    path: Path | None = None
    _sound: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        whole, end, rest = self.path.read_text().rpartition("\n")
        for number, line in enumerate((whole if end else rest).splitlines(), 1):
            part, name, wrong, found = _read(line, f"{self.path}, line {number}")
            if wrong:
                self._sound.pop((part, name), None)
            else:
                self._sound[part, name] = found
        if rest:
            # A run that was killed may leave a line unfinished, and the next one is not to be written behind it.
            self.path.write_text(whole + end)

    def results(self, trial: Trial[Subject, Result], subjects: Sequence[Subject], jobs: int) -> Iterator[Result]:
        """Yield what is found of each subject, in their order; what was sound before is not tried again."""
        names = list(_apart(map(trial.name, subjects)))
        left = [pair for pair in zip(names, subjects, strict=True) if (trial.part, pair[0]) not in self._sound]
        pieces = list(_pieces(left, trial))

        def work(piece: Piece[Subject]) -> Iterable[Result]:
            return trial.work([subject for _, subject in piece])

        def note(index: int, results: Iterable[Result]) -> None:
            self._write(
                [trial.part, name, trial.wrong(found), found]
                for (name, _), found in zip(pieces[index], results, strict=True)
            )

        fresh = chain.from_iterable(shared(work, pieces, jobs, note))
        for name in names:
            known = (trial.part, name)
            yield self._sound[known] if known in self._sound else next(fresh)

    def _write(self, lines: Iterable[list[Any]]) -> None:
        if self.path is not None:
            with self.path.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)


def _read(line: str, where: str) -> tuple[str, str, bool, Any]:
    try:
        part, name, wrong, found = json.loads(line)
        valid = isinstance(part, str) and isinstance(name, str) and isinstance(wrong, bool)
    except (ValueError, TypeError):
        valid = False
    if not valid:
        raise UserError(f"{where}: not what --keep writes, which is [part, name, wrong, found].")
    return part, name, wrong, found


def _apart(names: Iterable[str]) -> Iterator[str]:
    """Yield the names, with a number to the second and later of those that are equal."""
    seen = Counter[str]()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _pieces(
    pairs: Sequence[tuple[str, Subject]], trial: Trial[Subject, Any]
) -> Iterator[Sequence[tuple[str, Subject]]]:
    """Cut what follows each other and is alike into pieces."""
    for _, group in groupby(pairs, lambda pair: trial.alike(pair[1])):
        same = list(group)
        yield from (same[first : first + trial.piece] for first in range(0, len(same), trial.piece))

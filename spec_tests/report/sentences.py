"""The numbered sentences of docs/spec: in the source tree there, in an installed wheel beside the suite."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spec_tests.report.manifest import SUITE

NO_CHAPTERS: Final = ("README", "decisions")
"""Pages of docs/spec that number no sentence."""
_NUMBER: Final = re.compile(r"\[([A-Z][A-Z0-9]*-[0-9.]+)\]")
_CLAUSE: Final = re.compile(r"(?<!\S)\(([a-z])\)(?=\s)")
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)\s]+\)")


@dataclass(frozen=True)
class Sentence:
    """One requirement and where it stands; `id` is empty for a sentence that says MUST and has no number."""

    id: str
    text: str
    chapter: str

    @property
    def clauses(self) -> tuple[str, ...]:
        """The names of its clauses: the number and the letter of each, or the number alone where it has no letters."""
        return tuple(f"{self.id}{letter}" for letter in _CLAUSE.findall(self.text)) or (self.id,)


def of_clause(name: str) -> str:
    """Return the number of the sentence that a clause belongs to."""
    return name.rstrip("abcdefghijklmnopqrstuvwxyz")


def spec_directory() -> Path | None:
    """Return where the chapters are, None where there are none."""
    places = (SUITE.parent / "docs" / "spec", SUITE / "spec")
    return next((place for place in places if place.is_dir()), None)


def read_sentences() -> tuple[Sentence, ...]:
    """Return every sentence of every chapter, in order of files."""
    place = spec_directory()
    chapters = sorted(place.glob("*.md")) if place else []
    return tuple(
        found for path in chapters if path.stem not in NO_CHAPTERS for found in parse(path.read_text(), path.stem)
    )


def parse(text: str, chapter: str) -> tuple[Sentence, ...]:
    """Return the numbered sentences of a chapter without the targets of links, and what says MUST without a number."""
    found = []
    for block in blocks(text):
        match = _NUMBER.match(block.removeprefix("- "))
        words = _LINK.sub(r"\1", block.removeprefix("- "))
        if match:
            found.append(Sentence(match[1], words.removeprefix(f"[{match[1]}]").strip(), chapter))
        elif re.search(r"\bMUST\b", block):
            found.append(Sentence("", words, chapter))
    return tuple(found)


def blocks(text: str) -> list[str]:
    """Return paragraphs and list items as one line each: a block ends at an empty line or where an item begins."""
    joined = re.sub(r"\n(?=- |#|\|)", "\n\n", text)
    return [" ".join(block.split()) for block in joined.split("\n\n") if block.strip()]

"""The text of the specification by itself: what it refers to is there, and each part says where it comes from."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from spec_tests.report.sentences import Sentence, read_sentences, spec_directory

SPEC: Final = spec_directory() or Path()
PAGES: Final = sorted(SPEC.glob("*.md"))
ROOMS: Final = ("atlas_ref", "preflight", "cli", "spec_tests", "benchmarks", "docs")
NUMBER: Final = re.compile(r"\b[A-Z][A-Z0-9]*-\d+[a-z]?\b")
PREFIXES: Final = {sentence.id.partition("-")[0] for sentence in read_sentences()}
DECISIONS: Final = frozenset(re.findall(r"^## (\S+)$", (SPEC / "decisions.md").read_text(), re.M))


def anchors(page: Path) -> set[str]:
    """Return the names that links into a page may have."""
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in heads(page)}


def heads(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", page.read_text(), re.M)


def links(text: str) -> Iterator[str]:
    """Yield the targets of links, inline and by definition, of one page."""
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_to_something(page: Path) -> None:
    for target in links(page.read_text()):
        place, _, anchor = target.partition("#")
        aim = page.parent / place if place else page
        assert aim.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(aim), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_word_in_brackets_is_defined_and_every_definition_used(page: Path) -> None:
    text = page.read_text()
    defined = re.findall(r"^\[([^\]]+)\]: ", text, re.M)
    used = set(re.findall(r"\[([a-z][a-z0-9-]+)\](?![(:])", text))
    assert sorted(defined) == sorted(used)


ORIGINS: Final = re.compile(r"\(((?:paper|derived|decision)\b[^|]*(?: \| [^|]*)*)\)$")
ORIGIN: Final = re.compile(r"(paper|derived|decision)((?: [a-z](?:, [a-z])*)?)(?::? .+)?$")
SENTENCES: Final = [sentence for sentence in read_sentences() if sentence.id]


def origins(text: str) -> dict[str, str]:
    """Return where a sentence comes from: each kind with the letters of its clauses, none where it is of all."""
    marks = ORIGINS.search(text)
    parts = [ORIGIN.match(part) for part in marks[1].split(" | ")] if marks else []
    return {part[1]: part[2].replace(",", "").replace(" ", "") for part in parts if part}


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.id)
def test_a_sentence_says_what_of_it_is_paper_and_what_is_decision(sentence: Sentence) -> None:
    found = origins(sentence.text)
    assert found, f"{sentence.id} does not say where it comes from"
    letters = "".join(name.removeprefix(sentence.id) for name in sentence.clauses)
    if len(found) > 1:
        assert letters, f"{sentence.id} is of {' and '.join(found)} and has no clauses to tell them apart"
        assert "".join(sorted("".join(found.values()))) == letters, f"{sentence.id}: {found} of the clauses {letters}"
    else:
        assert not "".join(found.values()), f"{sentence.id} is {found}, so no letters are needed"


def test_an_origin_is_read_with_its_letters() -> None:
    assert origins("X MUST be (a) Y (b) Z. (paper a: 2401.1 Eq. 3 (see there) | decision b: [rows])") == {
        "paper": "a",
        "decision": "b",
    }
    assert origins("X MUST be Y. (derived)") == {"derived": ""}
    assert origins("X MUST be Y. (paper: 2401.1 Eq. 3)") == {"paper": ""}
    assert origins("X MUST be Y. (a joke)") == {}


def test_every_sentence_that_is_named_is_there() -> None:
    known = {name for sentence in read_sentences() for name in (sentence.id, *sentence.clauses)}
    for page in PAGES:
        for name in NUMBER.findall(page.read_text()):
            if name.partition("-")[0] in PREFIXES:
                assert name in known, f"{page.name} speaks of {name}"


def test_every_decision_that_is_named_is_written_down() -> None:
    named = {
        name for text in _texts() for list_ in _NAMED.findall(text) for name in re.findall(r"[a-z][a-z0-9-]+", list_)
    }
    assert len(DECISIONS) > 30
    assert named - DECISIONS == set(), "decisions.md does not have these"
    assert DECISIONS - named == set(), "nothing rests on these"


_NAMED: Final = re.compile(r"\bdecision(?:\s+[a-z](?:,\s[a-z])*:)?((?:,?\s+(?:\[[a-z0-9-]+\]|`[a-z0-9-]+`))+)")


def test_no_decision_is_a_number_of_a_list_that_is_elsewhere() -> None:
    for text in _texts():
        assert not re.findall(r"\bdecisions?(?:\.md)?\s+\d.*", text)


def _texts() -> Iterator[str]:
    root = SPEC.parent.parent
    for room in ROOMS:
        for path in (root / room).rglob("*"):
            if path.suffix in (".py", ".md", ".toml") and path != Path(__file__):
                yield path.read_text()

"""`atlas trace` names whatever stands alone."""

from dataclasses import replace

import pytest

from spec_tests.faults.fault import Fault
from spec_tests.port import Op
from spec_tests.report.asked import suite
from spec_tests.report.sentences import Sentence, parse
from spec_tests.report.trace import NamedTest, Trace, problems

FAULT = Fault(
    id="sign", requirement="NS-1", op=Op.NEWTON_SCHULZ, killed_by="test_a:test_b", wrap=lambda run: run, origin="a test"
)
SENTENCE = Sentence("NS-1", "X MUST be Y.", "newton_schulz")
TEST = NamedTest("test_a:test_b", frozenset({"NS-1"}), asks=True)
SOUND = Trace(sentences=(SENTENCE,), tests=(TEST,), vectors={"ATL-NS-001": ("NS-1",)}, faults=(FAULT,), asked={})
SECOND = Sentence("NS-2", "Z MUST be 0.", "newton_schulz")
IDLE = NamedTest("test_a:test_idle", frozenset({"NS-1"}), asks=True)
LETTERED = Sentence("NS-1", "M(a) MUST be (a) Y and (b) Z (paper).", "newton_schulz")
CLAUSES = replace(
    SOUND,
    sentences=(LETTERED,),
    faults=(replace(FAULT, requirement="NS-1a"), replace(FAULT, requirement="NS-1b")),
)

GAPS: dict[str, tuple[Trace, tuple[str, ...]]] = {
    "a sentence that only stands in the text": (
        replace(SOUND, sentences=(SENTENCE, SECOND)),
        ("NS-2 has no test", "NS-2 has no fault"),
    ),
    "a sentence that only a vector holds": (
        replace(SOUND, sentences=(SENTENCE, SECOND), vectors={"ATL-NS-001": ("NS-2",)}),
        ("NS-2 has no fault",),
    ),
    "a sentence numbered twice": (replace(SOUND, sentences=(SENTENCE, SENTENCE)), ("NS-1 is numbered 2 times",)),
    "a sentence without a number": (
        replace(SOUND, sentences=(SENTENCE, replace(SECOND, id=""))),
        ("docs/spec/newton_schulz.md says MUST without a number: Z MUST be 0.",),
    ),
    "a test of a port without a sentence": (
        replace(SOUND, tests=(TEST, replace(IDLE, sentences=frozenset()))),
        ("test_a:test_idle names no sentence", "test_a:test_idle kills no fault"),
    ),
    "a test of a port without a fault": (replace(SOUND, tests=(TEST, IDLE)), ("test_a:test_idle kills no fault",)),
    "a test that notices generated faults needs no other": (
        replace(SOUND, tests=(TEST, IDLE), noticing=frozenset({IDLE.name})),
        (),
    ),
    "a test of something else needs no fault": (replace(SOUND, tests=(TEST, replace(IDLE, asks=False))), ()),
    "a test that names an unknown sentence": (
        replace(SOUND, tests=(replace(TEST, sentences=frozenset({"NS-1", "NS-9"})),)),
        ("test_a:test_b names NS-9, which no chapter has",),
    ),
    "a vector that names an unknown sentence": (
        replace(SOUND, vectors={"ATL-NS-001": ("NS-9",)}),
        ("ATL-NS-001 names NS-9, which no chapter has",),
    ),
    "a vector that names none": (replace(SOUND, vectors={"ATL-NS-001": ()}), ("ATL-NS-001 names no sentence",)),
    "a fault that breaks an unknown sentence": (
        replace(SOUND, faults=(FAULT, replace(FAULT, requirement="NS-9"))),
        (
            "fault sign breaks NS-9, which no chapter has",
            "fault sign breaks NS-9, which test_a:test_b does not hold",
        ),
    ),
    "a fault claimed by no test": (
        replace(SOUND, faults=(FAULT, replace(FAULT, killed_by="test_a:test_gone"))),
        ("fault sign is claimed by test_a:test_gone, which is no test",),
    ),
    "a clause without a fault": (
        replace(CLAUSES, faults=(replace(FAULT, requirement="NS-1a"),)),
        ("NS-1b has no fault",),
    ),
    "a fault of the whole sentence, which is one of no clause": (
        replace(CLAUSES, faults=(FAULT,)),
        ("NS-1a has no fault", "NS-1b has no fault"),
    ),
    "a fault of a clause that the sentence does not have": (
        replace(CLAUSES, faults=(*CLAUSES.faults, replace(FAULT, requirement="NS-1c"))),
        ("fault sign breaks NS-1c, which no chapter has",),
    ),
    "a letter that was left out": (
        replace(CLAUSES, sentences=(replace(LETTERED, text="X MUST be (a) Y and (c) Z."),)),
        ("NS-1 has clauses a, c, which is not a, b and so on", "fault sign breaks NS-1b, which no chapter has"),
    ),
    "nothing about clauses": (CLAUSES, ()),
    "nothing": (SOUND, ()),
}


@pytest.mark.parametrize("gap", GAPS)
def test_each_gap_is_one_line(gap: str) -> None:
    trace, lines = GAPS[gap]
    assert tuple(problems(replace(trace, asked=suite()))) == lines


CHAPTER = """# A chapter (AB)

Some text that asks nothing.
Operation `x`, which goes on
over lines.

- [AB-1] The first thing MUST hold,
  over two lines. (derived)
- [AB-12.3] The second MUST too.
- An item MUST not lack a number.

| rule | that |
|---|---|
| `x` | MUST be numbered |

A paragraph which MUST
have one. A MUSTARD needs none.
"""


def test_a_chapter_is_read_sentence_by_sentence() -> None:
    assert [(sentence.id, sentence.text) for sentence in parse(CHAPTER, "ab")] == [
        ("AB-1", "The first thing MUST hold, over two lines. (derived)"),
        ("AB-12.3", "The second MUST too."),
        ("", "An item MUST not lack a number."),
        ("", "| `x` | MUST be numbered |"),
        ("", "A paragraph which MUST have one. A MUSTARD needs none."),
    ]

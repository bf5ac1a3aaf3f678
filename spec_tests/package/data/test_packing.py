"""Answers in rows: what is scored, what is cut and skipped, and that every example is in one row as a whole."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from atlas_ref.data import packing
from atlas_ref.data.answers import PromptAnswer
from atlas_ref.data.packing import Counts, Example, Rows, shared_rows
from atlas_ref.data.tokenizer import ByteTokenizer
from spec_tests.package.data.answer_inputs import END, NOTHING, is_scored_right

LENGTH, GRID, JOINT = 12, 4, ":"
EXAMPLES = [
    PromptAnswer("one and two", "3"),
    PromptAnswer("ab", "xy"),
    PromptAnswer("c", "z"),
    PromptAnswer("d", "uvw"),
]
TOGETHER = [EXAMPLES[:1], EXAMPLES[1:3], EXAMPLES[3:]]
"""Which of them lie in a row: 16, 8, 4 and 8 tokens with their filling, the first of which is cut to 12."""


def rows_of(examples: Sequence[PromptAnswer], length: int = LENGTH, grid: int = GRID) -> Rows:
    return Rows.of(examples, JOINT, ByteTokenizer(), length, grid)


def test_an_example_is_laid_out_as_written_by_hand() -> None:
    rows = rows_of([PromptAnswer("ab", "xy")])
    a, b, colon, x, y = b"ab:xy"
    assert rows.tokens.tolist() == [[a, b, colon, x, y, *[END] * 7]]
    assert rows.targets.tolist() == [[NOTHING, NOTHING, x, y, END, *[NOTHING] * 7]]
    assert rows.starts.tolist() == [[True] + [False] * 11]


def test_the_beginning_of_a_prompt_is_cut_and_the_answer_stays_whole() -> None:
    rows = rows_of(EXAMPLES[:1])
    assert [*rows.tokens[0]] == [*b"e and two:3", END]
    assert rows.targets[0].tolist() == [NOTHING] * 9 + [ord("3"), END, NOTHING]
    assert rows.counts == Counts(examples=1, cut=1, skipped=0)


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ("1234567890", Counts(1, 1, 0)),  # With its end and one token before it 12: it fits.
        ("12345678901", Counts(1, 0, 1)),
    ],
)
def test_an_answer_that_a_row_has_no_room_for_is_skipped_and_counted(answer: str, counts: Counts) -> None:
    rows = rows_of([PromptAnswer("why", answer), PromptAnswer("q", "a")])
    assert rows.counts == counts._replace(examples=2)
    text = [bytes(token for token in row if token != END) for row in rows.tokens.tolist()]
    assert text == [b":" + answer.encode(), b"q:a"][counts.skipped :]


def test_a_prompt_that_just_fits_is_not_cut() -> None:
    assert rows_of([PromptAnswer("12345678", "a")]).counts.cut == 0
    assert rows_of([PromptAnswer("123456789", "a")]).counts.cut == 0
    assert rows_of([PromptAnswer("1234567890", "a")]).counts.cut == 1


def test_answers_and_their_ends_are_scored_and_nothing_else_in_the_row() -> None:
    rows = rows_of(EXAMPLES)
    assert is_scored_right(rows, TOGETHER, JOINT)
    assert [np.flatnonzero(row).tolist() for row in rows.starts] == [[0], [0, 8], [0]]


Layout = Callable[[Sequence[int], Sequence[int], int, int], Example]


def _with_targets(change: Callable[[Example, int, int], None]) -> Layout:
    right = packing.laid_out

    def wrong(prompt: Sequence[int], answer: Sequence[int], separator: int, grid: int) -> Example:
        example = right(prompt, answer, separator, grid)
        change(example, len(prompt), len(answer))
        return example

    return wrong


def _prompt_scored(example: Example, prompt: int, answer: int) -> None:
    example.targets[: prompt - 1] = example.tokens[1:prompt]


def _no_shift(example: Example, prompt: int, answer: int) -> None:
    example.targets[:] = NOTHING
    example.targets[prompt : prompt + answer + 1] = example.tokens[prompt : prompt + answer + 1]


def _two_shifts(example: Example, prompt: int, answer: int) -> None:
    example.targets[:-1] = example.targets[1:].copy()
    example.targets[-1] = NOTHING


def _first_token_unasked(example: Example, prompt: int, answer: int) -> None:
    example.targets[prompt - 1] = NOTHING


def _end_unasked(example: Example, prompt: int, answer: int) -> None:
    example.targets[prompt + answer - 1] = NOTHING


def _filling_scored(example: Example, prompt: int, answer: int) -> None:
    example.targets[prompt + answer : -1] = example.tokens[prompt + answer + 1 :]


FAULTS = {
    "loss on the prompt": _prompt_scored,
    "no shift": _no_shift,
    "two shifts": _two_shifts,
    "the first token of an answer is not asked for": _first_token_unasked,
    "the end of an answer is not asked for": _end_unasked,
    "filling is scored": _filling_scored,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_mask_is_told_from_the_right_one(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "laid_out", _with_targets(FAULTS[fault]))
    assert not is_scored_right(rows_of(EXAMPLES), TOGETHER, JOINT)


def test_an_answer_cut_in_place_of_its_prompt_is_told_from_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def end_cut(prompt: Sequence[int], answer: Sequence[int], separator: int, grid: int) -> Example:
        whole = [*b"one and two:", *b"3"][: LENGTH - 1] if len(prompt) == 10 else [*prompt, *answer]
        return right(whole[: len(prompt)], whole[len(prompt) :], separator, grid)

    right = packing.laid_out
    monkeypatch.setattr(packing, "laid_out", end_cut)
    assert not is_scored_right(rows_of(EXAMPLES), TOGETHER, JOINT)


@pytest.mark.parametrize("seed", range(5))
def test_every_example_is_in_one_row_as_a_whole_and_none_overlap(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 30, size=200).tolist()
    rows = shared_rows(sizes, 30)
    assert sorted(number for row in rows for number in row) == list(range(200))
    assert max(sum(sizes[number] for number in row) for row in rows) <= 30
    assert all(row == sorted(row) for row in rows)
    assert len(rows) <= 1.2 * sum(sizes) / 30


def test_an_example_goes_to_the_fullest_row_that_has_room() -> None:
    assert shared_rows([5, 7, 3, 5, 2, 1], 10) == [[0, 3], [1, 2], [4, 5]]

"""Results that are noted as they come: what is sound is not tried again, what is wrong is, and so is what is new."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from atlas_ref.errors import UserError
from spec_tests.selfproof.kept import Kept, Trial


def squares(file: Path | None, numbers: list[int]) -> tuple[list[int], list[int]]:
    """Return the squares of some numbers, those of odd ones counting as wrong, and which of them were worked out."""
    worked: list[int] = []

    def work(some: list[int]) -> list[int]:
        worked.extend(some)
        return [number * number for number in some]

    trial = Trial[int, int]("squares", str, lambda some: work(list(some)), lambda square: square % 2 == 1, piece=2)
    return list(Kept(file).results(trial, numbers, 1)), worked


def test_what_was_sound_is_not_tried_again_and_what_was_wrong_or_is_new_is(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    assert squares(file, [1, 2, 4]) == ([1, 4, 16], [1, 2, 4])
    assert squares(file, [1, 2, 3, 4, 6]) == ([1, 4, 9, 16, 36], [1, 3, 6])
    assert squares(None, [1, 2]) == ([1, 4], [1, 2])


def test_each_result_is_noted_before_the_next_is_worked_out(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    trial = Trial[int, int]("halves", str, lambda some: [1 // number for number in some], lambda half: half == 0)
    with pytest.raises(ZeroDivisionError):
        list(Kept(file).results(trial, [1, 2, 0, 3], 1))
    noted = [json.loads(line) for line in file.read_text().splitlines()]
    assert noted == [["halves", "1", False, 1], ["halves", "2", True, 0]]


def test_subjects_of_one_name_are_told_apart_and_those_of_another_part_are_others(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    assert squares(file, [2, 2])[1] == [2, 2]
    assert squares(file, [2, 2, 2])[1] == [2]
    other = Trial[int, int]("others", str, lambda some: [-number for number in some], lambda _: False)
    assert list(Kept(file).results(other, [2], 1)) == [-2]


def test_subjects_that_are_not_alike_are_never_in_one_piece() -> None:
    pieces: list[list[str]] = []

    def work(some: Sequence[str]) -> list[str]:
        pieces.append(list(some))
        return list(some)

    trial = Trial[str, str]("words", str, work, lambda _: False, 2, lambda word: word[0])
    list(Kept().results(trial, ["aa", "ab", "ac", "ba", "bb"], 1))
    assert pieces == [["aa", "ab"], ["ac"], ["ba", "bb"]]


def test_a_line_that_was_not_finished_is_left_out_and_the_next_one_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    squares(file, [2, 4])
    file.write_text(file.read_text()[:-3])
    assert squares(file, [2, 4])[1] == [4]
    assert squares(file, [2, 4])[1] == []


@pytest.mark.parametrize("line", ["notes", "{}", "[1]", '["squares", "2", 3, 4]', "[1, 2, true, 3]"])
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "kept"
    file.write_text(f'["squares", "2", false, 4]\n{line}\n')
    with pytest.raises(UserError, match=f"{file}, line 2: not what --keep writes"):
        squares(file, [2])
    assert file.read_text().endswith(f"{line}\n")
    file.write_text(line)
    with pytest.raises(UserError, match=f"{file}, line 1: not what --keep writes"):
        squares(file, [2])
    assert file.read_text() == line

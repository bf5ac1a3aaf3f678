"""What was said is compared with what is right as a person would: numbers by value, answers by their words.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import math

import pytest

from atlas_ref.metrics.said import exact_match, likeliest, number_of, same_number, word_f1

NUMBERS = {
    "She has 5 of 18.": "18",
    "12 + 6 = 18\n#### 18 apples of 30": "18",
    "#### 3\nno:\n#### 4": "4",
    "1,234,567": "1234567",
    "1,050.50": "1050.5",
    "007": "7",
    "0.0": "0",
    "-0": "0",
    ".50": "0.5",
    "$18.00": "18",
    "-$3": "-3",
    "\u22123": "-3",
    "x = -3": "-3",
    "5-3": "3",
    "week-3": "3",
    "(8)-3": "3",
    "1,2": "2",
    "It is 42.": "42",
    "12345678901234567890123.4": "12345678901234567890123.4",
    "9" * 5000: "9" * 5000,
}


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:30])
def test_the_number_of_a_text_has_one_spelling(text: str) -> None:
    """Kills: the first number of a solution; what stands before the last ####; a hyphen read as a minus; thousands
    read as several numbers; floats, which round long numbers; int, which refuses very long ones.
    """
    assert number_of(text) == NUMBERS[text]


@pytest.mark.parametrize("text", ["", "none", "a.b", "####", "5 ####", "-", "$"])
def test_a_text_without_a_number_has_none_and_equals_nothing(text: str) -> None:
    """Kills: two failures called alike; the steps before a mark taken for what should stand behind it."""
    assert number_of(text) is None
    assert not same_number(text, text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" -7.50 ", "-7.5"),
        ("+3", "3"),
        ("$1,200", "1200"),
        ("9 apples", None),
        ("10:30", None),
        ("1 2", None),
        ("", None),
    ],
)
def test_a_text_that_must_be_a_number_is_one_as_a_whole(text: str, number: str | None) -> None:
    assert number_of(text, whole=True) == number


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [("so 1,200.0", "1200", True), ("#### 18.", "18", True), ("18", "-18", False), ("180", "18", False)],
)
def test_numbers_are_compared_by_value(said: str, gold: str, right: bool) -> None:
    assert same_number(said, gold) is right


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("The  Eiffel Tower.", "eiffel tower", True),
        ("an apple", "apple", True),
        ("Anne", "ne", False),
        ("theatre", "atre", False),
        ("U.S.", "us", True),
        ("Oslo, Norway", "Oslo", False),
        ("the", "", True),
    ],
)
def test_answers_are_alike_without_case_marks_and_articles(said: str, gold: str, right: bool) -> None:
    """Kills: an article taken out of the middle of a word; marks that become spaces, so that U.S. is "u s"."""
    assert exact_match(said, gold) is right


@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("Return the sum of two numbers", "Returns sum of two lists", 2 * 3 / (5 + 5)),
        ("sum sum sum", "sum of sum", 2 * 2 / (3 + 3)),
        ("a b", "c", 0.0),
        ("", "", 1.0),
        ("", "sum", 0.0),
        ("Sum!", "sum", 1.0),
    ],
)
def test_f1_counts_each_word_as_often_as_both_have_it(said: str, gold: str, score: float) -> None:
    """Kills: words as a set; articles counted; nothing beside nothing scored 0."""
    assert word_f1(said, gold) == pytest.approx(score, abs=1e-15)


def test_the_likeliest_choice_is_that_of_the_highest_mean_whatever_its_length() -> None:
    """Kills: the sum, which takes the shortest; the last of equals; a NaN that wins."""
    assert likeliest([[-1.0], [-0.6, -0.6, -0.6], [-3.0]]) == 1
    assert likeliest([[-2.0], [-1.0, -1.0], [-1.0]]) == 1
    assert likeliest([[-math.inf], [-9.0]]) == 1
    for wrong in ([[-1.0]], [[-1.0], []], [[-1.0], [math.nan]]):
        with pytest.raises(ValueError, match=r"answers|not a number"):
            likeliest(wrong)

"""Text from outside is shown by a terminal and never obeyed."""

import os
import unicodedata

import pytest

from atlas_ref.wording import counted, visible

TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u061c\u200e\u200f"
"""Letter, left-to-right and right-to-left mark, which have no class of their own."""


def test_no_character_that_a_terminal_obeys_is_left_and_every_other_one_stays() -> None:
    """Kills: only the escape character; C1 controls (0x9b begins a sequence too); letters of other scripts escaped."""
    every = [chr(code) for code in range(0x11000)]
    controls = {letter for letter in every if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")}
    turns = {letter for letter in every if unicodedata.bidirectional(letter) in TURNS} | set(MARKS)
    assert set(visible("".join(every))) == set(every) - controls - turns
    assert all(visible(letter).isprintable() for letter in controls | turns)


def test_what_is_hidden_is_spelt_as_python_spells_it_and_a_byte_of_a_file_name_as_the_byte() -> None:
    r"""Kills: \udcff for the byte 0xff of a name; a newline that breaks a line; lines that lose their newlines."""
    assert visible("a\x1b[2Kb\x9b1A\r\n") == r"a\x1b[2Kb\x9b1A\x0d\x0a"
    assert visible(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert visible("\u202egnp.exe") == r"\u202egnp.exe"
    assert visible("two\n\tlines\x07", lines=True) == "two\n\tlines\\x07"


@pytest.mark.parametrize(("number", "words"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (1200, "1,200 cases")])
def test_one_is_no_plural(number: int, words: str) -> None:
    """Kills: "1 cases"."""
    assert counted(number, "case") == words

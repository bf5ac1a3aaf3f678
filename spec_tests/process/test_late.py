"""What a program does after its answer is told of the case that it answered, and the next case starts afresh."""

import os
from pathlib import Path

import numpy as np
import pytest

from spec_tests.contract.outcome import PortError
from spec_tests.process.check import check
from spec_tests.process.client import Late
from spec_tests.process.life import Life
from spec_tests.process.scripts import BAD, Opened, X, asked, misbehaving, starts
from spec_tests.process.test_check import STEPS

AGAIN = "json.dumps({'id': case['id'], 'status': 'ok'})"


def sound(port_answer: object) -> bool:
    return bool(np.array_equal(np.asarray(port_answer), X.astype(np.float32)))


@pytest.mark.parametrize("words", ["second answer", "stray line"])
def test_a_line_that_comes_late_is_told_of_its_case(words: str, opened: Opened, tmp_path: Path) -> None:
    release, printed = tmp_path / "release", tmp_path / "printed"
    for pipe in (release, printed):
        os.mkfifo(pipe)
    line = AGAIN if words == "second answer" else "'step 1'"
    late = f"open({str(release)!r}).close(); put({line} + '\\n'); open({str(printed)!r}, 'w').close()"
    port = opened(misbehaving(f"compute(case); done(case)\n{late}"))
    asked(port)
    assert sound(asked(port, BAD)["y"])
    assert port.late() == ()
    release.open("w").close()
    printed.open().close()
    assert sound(asked(port)["y"])
    (found,) = port.late()
    assert found.case == 2
    assert "after its answer, when nobody asked: standard output carries protocol lines only" in found.words
    assert port.late() == ()
    assert starts(tmp_path) == 2


def test_a_second_answer_while_the_next_case_is_in_hand_is_told_of_its_own(opened: Opened, tmp_path: Path) -> None:
    twice = f"compute(case); done(case)\nlate = {AGAIN}\nonce = sys.stdin.readline()\nput(late + '\\n')\nblock()"
    port = opened(misbehaving(twice))
    asked(port)
    asked(port, BAD)
    assert sound(asked(port)["y"])
    assert port.late() == (Late(2, "answered twice: while case 3 was in hand, the program answered case 2 again"),)
    assert starts(tmp_path) == 2


def test_an_end_after_the_answer_is_told_of_its_case(opened: Opened, life: Life, tmp_path: Path) -> None:
    port = opened(life.change + misbehaving("compute(case); done(case); sys.stdin.close(); os._exit(7)"))
    asked(port)
    told = []
    try:
        asked(port, BAD)
    except PortError as error:
        told.append(str(error))  # Seen while the answer was read.
    assert life.ends()
    asked(port)
    told += [late.words for late in port.late() if late.case == 2]
    assert ["exit code 7" in words for words in told] == [True]
    assert sound(asked(port)["y"])
    assert starts(tmp_path) == 2


UNHEARD = {
    "deaf": ("compute(case); os.close(0); done(case); os.read(os.pipe()[0], 1)", "closed its standard input"),
    "without a look": ("compute(case); done(case); import select; select.select([0], [], []); os._exit(7)", "code 7"),
}


@pytest.mark.parametrize("name", UNHEARD)
def test_an_end_without_hearing_the_next_question_is_told_of_the_case_before(
    name: str, opened: Opened, tmp_path: Path
) -> None:
    statements, words = UNHEARD[name]
    port = opened(misbehaving(statements))
    asked(port)
    asked(port, BAD)
    assert sound(asked(port)["y"])
    assert [(late.case, words in late.words) for late in port.late()] == [(2, True)]
    assert starts(tmp_path) == 2


def test_the_examination_tells_of_a_second_answer_at_its_own_step(opened: Opened) -> None:
    again = """
kept, before = answer, []
def answer(case):
    if before:
        put(before.pop() + '\\n')
        block()
    kept(case)
    if case['op'] == 'no_such_thing':
        before.append(json.dumps({'id': case['id'], 'status': 'ok'}))
"""
    found = {finding.step: finding.problem for finding in check(opened(again))}
    assert list(found) == STEPS
    wrong = {step: problem for step, problem in found.items() if problem}
    assert list(wrong) == ["an unknown operation"]
    assert "answered twice" in wrong["an unknown operation"]

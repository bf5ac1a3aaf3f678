"""Sentences, tests, stored vectors and faults belong together: none stands without the others."""

from dataclasses import replace

from spec_tests.port import Op
from spec_tests.report.trace import lines, problems, read_trace


def test_every_sentence_test_vector_and_fault_stands_with_the_others() -> None:
    assert list(problems(read_trace())) == []


def test_what_nobody_asks_for_is_a_problem() -> None:
    trace = read_trace()
    asked = {**trace.asked, Op.LTM_SCAN: trace.asked[Op.LTM_SCAN] - {"decay=0", "not finite: carry"}}
    found = list(problems(replace(trace, asked=asked)))
    assert found == ["ltm_scan is never asked for decay=0", "ltm_scan is never asked for not finite: carry"]


def test_a_pipe_gets_a_narrow_line_for_each_thing_behind_a_sentence() -> None:
    """Kills: a table of 200 columns with names folded in their middle; a kind of thing left out."""
    trace = read_trace()
    found = [line.split("  ") for line in lines(trace)]
    assert {kind for _, kind, _ in found} == {"test", "vector", "fault"}
    named = sum(len(test.sentences) for test in trace.tests) + sum(map(len, trace.vectors.values()))
    assert len(found) == named + len(trace.faults)
    assert {name for name, _, _ in found} == {sentence.id for sentence in trace.sentences}

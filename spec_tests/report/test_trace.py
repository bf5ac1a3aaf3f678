"""Sentences, tests, stored vectors and faults belong together: none stands without the others."""

from spec_tests.report.trace import problems, read_trace


def test_every_sentence_test_vector_and_fault_stands_with_the_others() -> None:
    assert list(problems(read_trace())) == []

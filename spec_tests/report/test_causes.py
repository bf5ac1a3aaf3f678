"""Failures of one cause are told once: the stored cases first, at the level of what failed, with what to look at."""

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Numerics, Op
from spec_tests.report.causes import causes
from spec_tests.report.model import FirstDivergence, LastCall, Likeness, Result
from spec_tests.report.samples import DIVERGENCE, report, result
from spec_tests.report.summary import written

CALL = LastCall(
    operation=Op.MEMORY_CHUNKED,
    numerics=Numerics.F64,
    config={"architecture": "matrix", "rule": "omega", "chunk": 4, "read": "post"},
    shapes={"keys": (2, 12, 2, 5), "window_weights": (2, 12, 2, 3)},
)


def diverged(number: int, tensor: str, *sentences: str, likely: dict[str, float] | None = None) -> Result:
    faults = None if likely is None else tuple(Likeness(fault=name, cosine=value) for name, value in likely.items())
    found = FirstDivergence(**{**dict(DIVERGENCE), "tensor": tensor, "likely": faults})
    made = result(
        f"ATL-CHUNK-{number:03}/f64", Outcome.FAIL, Op.MEMORY_CHUNKED, requirements=sentences, divergence=found
    )
    return made.model_copy(update={"last": CALL, "level": 3})


def failed(
    name: str, reason: str, *sentences: str, op: Op = Op.MEMORY_CHUNKED, outcome: Outcome = Outcome.FAIL
) -> Result:
    made = result(f"test_a:{name}", outcome, op, reason=reason, requirements=sentences, level=3)
    return made.model_copy(update={"last": CALL.model_copy(update={"operation": op})})


def test_stored_cases_and_properties_of_one_operation_sentence_and_output_are_one_cause() -> None:
    made = [diverged(n, "momentum", "MEM-5", f"CHUNK-{n}") for n in (1, 2, 3)]
    split = failed("test_split", "memory_chunked momentum split at [3]: off by 1 at (0,)", "MEM-8")
    other = diverged(4, "reads", "MEM-4")
    found = causes([split, *made, other])
    assert [(each.output, each.sentence, len(each.cases)) for each in found] == [
        ("momentum", "MEM-5", 4),
        ("reads", "MEM-4", 1),
    ]
    assert found[0].cases == (*(each.id for each in made), split.id)


def test_what_has_a_stored_case_comes_before_what_has_none_and_what_is_blocked_comes_last() -> None:
    alone = failed("test_low", "newton_schulz y in f64: off by 1", "NS-1", op=Op.NEWTON_SCHULZ)
    blocked = failed("test_b", "words", "LM-1", op=Op.LM_FORWARD, outcome=Outcome.BLOCKED)
    found = causes([blocked.model_copy(update={"blocked_by": Op.NEWTON_SCHULZ}), alone, diverged(1, "reads", "MEM-4")])
    assert [each.operation for each in found] == [Op.MEMORY_CHUNKED, Op.NEWTON_SCHULZ, Op.LM_FORWARD]


def test_of_sentences_that_all_failing_cases_hold_the_one_is_named_that_fewest_passing_cases_hold() -> None:
    sound = [result(f"test_a:test_{n}", Outcome.PASS, Op.MEMORY_CHUNKED, requirements=("CHUNK-5",)) for n in range(4)]
    (found,) = causes([diverged(1, "reads", "CHUNK-5", "WIN-3"), diverged(2, "reads", "CHUNK-5", "WIN-3"), *sound])
    assert found.sentence == "WIN-3"


def test_an_error_that_every_operation_has_is_one_cause_of_the_port() -> None:
    words = "the port raised ModuleNotFoundError: No module named 'nowhere'\n  at mine.py:{} in run\n  with x [2]"
    made = [
        failed(f"test_{op}", f"{op}: {words.format(line)}", "NS-1", op=op, outcome=Outcome.ERROR)
        for line, op in enumerate((Op.NEWTON_SCHULZ, Op.NEWTON_SCHULZ, Op.SHORT_CONV, Op.MEMORY_STEP))
    ]
    (found,) = causes(made)
    assert (found.operation, len(found.cases)) == (None, 4)
    text = written(report(*made), 80, coloured=False)
    assert text.count("ModuleNotFoundError") == 1
    assert "at mine.py:3 in run" in text or "at mine.py:0 in run" in text


def test_errors_that_differ_in_their_numbers_are_one_and_others_are_not() -> None:
    reasons = ("cannot reshape array of size 0", "cannot reshape array of size 12", "no such axis")
    made = [
        failed(f"test_{n}", f"memory_chunked: the port raised ValueError: {words}", "A-1", outcome=Outcome.ERROR)
        for n, words in enumerate(reasons)
    ]
    assert sorted(len(each.cases) for each in causes(made)) == [1, 2]


def test_a_failure_that_a_list_expects_has_no_cause() -> None:
    assert causes([diverged(1, "reads", "MEM-4").model_copy(update={"known": "TF32"})]) == ()


def test_hints_are_voted_over_the_cases_and_named_with_their_cosine() -> None:
    votes: tuple[dict[str, float], ...] = (
        {"lucky": 0.99},
        {"right": 0.95, "lucky": 0.5},
        {"right": 0.97},
        {"right": 0.9},
    )
    made = [diverged(n, "reads", "MEM-4", likely=likely) for n, likely in enumerate(votes)]
    unsought = diverged(9, "reads", "MEM-4")
    (found,) = causes([*made, unsought])
    assert (found.hint, found.sought) == ("right", 4)
    assert found.similarity is not None
    assert abs(found.similarity - (0.95 + 0.97 + 0.9) / 4) < 1e-12
    assert "like the seeded fault right (cosine 0.70, mean of 4 cases)" in written(report(*made), 100, coloured=False)


def test_below_the_bound_no_fault_is_named_and_that_is_said() -> None:
    made = [diverged(n, "reads", "MEM-4", likely=likely) for n, likely in enumerate(({"one": 0.9}, {"other": 0.9}, {}))]
    (found,) = causes(made)
    assert (found.hint, found.sought) == (None, 3)
    text = written(report(*made), 100, coloured=False)
    assert "no seeded fault is like this (mean of 3 cases)" in text
    assert "like the seeded fault" not in text
    assert "seeded fault" not in written(report(diverged(1, "reads", "MEM-4")), 100, coloured=False)


def test_a_cause_is_told_with_level_operation_output_sentence_rule_chunk_window_and_length() -> None:
    made = diverged(1, "reads", "MEM-4"), failed("test_b", "memory_chunked momentum in f64: off by 2", "MEM-8")
    text = " ".join(written(report(*made), 80, coloured=False).split())
    assert "fail L3 memory_chunked reads, MEM-4: off by inf at step 5, budget 3e-06" in text
    assert "fail L3 memory_chunked momentum, MEM-8: in f64: off by 2" in text
    assert text.count("(rule omega, chunk 4, window 3, T 12)") == 2


def test_lines_end_before_the_terminal_does_and_commands_are_one_line() -> None:
    made = [diverged(n, "reads", "MEM-4", likely={"a-fault-with-a-long-name": 0.9}) for n in range(20)]
    lines = written(report(*made), 80, coloured=False).splitlines()
    assert all(len(line) <= 80 or line.startswith("  rerun: ") for line in lines)
    assert sum(line.startswith("  rerun: ") for line in lines) == 1

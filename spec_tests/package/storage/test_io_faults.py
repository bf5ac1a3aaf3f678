"""Whatever call fails, and however: no saved checkpoint is lost, and a run that could go on goes on.

`python -m benchmarks.io_faults` tries every call at every occurrence with every error; here each call fails with each.
"""

from pathlib import Path

import pytest

from spec_tests.package.damage.io_faults import CALLS, ERRORS, Call, Fault, dispensable, occurrences, tried


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Call, list[str]]]:
    """A run without a fault, and how often it makes each call."""
    folder = tmp_path_factory.mktemp("io")
    return folder, occurrences(folder)


def test_a_run_makes_every_call(counted: tuple[Path, dict[Call, list[str]]]) -> None:
    """What follows can fail: each call occurs, and more than once."""
    assert all(len(names) > 1 for names in counted[1].values()), counted[1]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_loses_nothing_and_ends_no_run_that_can_go_on(
    counted: tuple[Path, dict[Call, list[str]]], tmp_path: Path, call: Call
) -> None:
    """An occurrence in the middle and the last one, each with another error.

    Kills: a removal that ends a run; a sync whose error names no file; a log that is left with half a line; a failed
    save that stays in the way of the next.
    """
    folder, seen = counted
    count, first = len(seen[call]), CALLS.index(call)
    for turn, occurrence in enumerate(((count + 1) // 2, count)):
        fault = Fault(call, occurrence, ERRORS[(first + turn) % len(ERRORS)])
        verdict = tried(fault, folder / "whole", tmp_path / f"run-{turn}")
        assert verdict.wrong is None, fault
        assert verdict.ended == "went on" or not dispensable(call, seen[call][occurrence - 1]), fault

"""Work that processes share or do apart: the order of its results, what it may be, and an error in one of them.

A program of its own forks, as the self-proof does: this process may have threads that a fork does not survive.
"""

import subprocess
import sys

import pytest

from spec_tests.selfproof.sharing import shared


def said(program: str) -> str:
    """Return what a program prints that has `os`, `apart` and `shared`."""
    whole = f"import os\nfrom spec_tests.selfproof.sharing import apart, shared\n{program}"
    ran = subprocess.run([sys.executable, "-c", whole], check=False, capture_output=True, text=True)
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_the_order_of_the_subjects(jobs: int) -> None:
    # A call cannot be sent to a process that is not forked.
    program = f"calls = [lambda n=n: n * n for n in range(20)]\nprint(list(shared(lambda call: call(), calls, {jobs})))"
    assert said(program).strip() == str([number * number for number in range(20)])


def test_several_processes_do_the_work_and_one_job_does_it_here() -> None:
    assert said("print(os.getpid() in set(shared(lambda _: os.getpid(), range(8), 2)))").strip() == "False"
    assert said("print(set(shared(lambda _: os.getpid(), range(8), 1)) == {os.getpid()})").strip() == "True"


def test_an_error_in_the_work_is_an_error_of_the_whole() -> None:
    with pytest.raises(ZeroDivisionError):
        list(shared(lambda subject: 1 / subject, [1, 0, 1], 1))
    assert said("list(shared(lambda subject: 1 / subject, [1, 0, 1], 2))").rstrip().endswith("division by zero")


def test_what_is_done_apart_leaves_nothing_behind_but_what_it_says() -> None:
    assert said("left = []\nprint(apart(lambda: left.append(os.getpid()) or left) == [os.getpid()], left)").strip() == (
        "False []"
    )


def test_an_error_apart_is_an_error_and_a_process_that_is_killed_says_nothing() -> None:
    assert "division by zero" in said("apart(lambda: 1 / 0)")
    assert "ChildProcessError" in said("apart(lambda: 1 / 0)")
    assert "EOFError" in said("apart(lambda: os.kill(os.getpid(), 9))")

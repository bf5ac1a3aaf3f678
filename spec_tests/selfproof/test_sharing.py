"""Work that processes share: the order of its results, what it may be, and an error in one of them."""

import os

import pytest

from spec_tests.selfproof.sharing import shared


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_the_order_of_the_subjects(jobs: int) -> None:
    # A call cannot be sent to a process that is not forked.
    subjects = [lambda number=number: number * number for number in range(20)]
    assert list(shared(lambda subject: subject(), subjects, jobs)) == [number * number for number in range(20)]


def test_several_processes_do_the_work_and_one_job_does_it_here() -> None:
    assert os.getpid() not in set(shared(lambda _: os.getpid(), range(8), 2))
    assert set(shared(lambda _: os.getpid(), range(8), 1)) == {os.getpid()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_the_work_is_an_error_of_the_whole(jobs: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(shared(lambda subject: 1 / subject, [1, 0, 1], jobs))

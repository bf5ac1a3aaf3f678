"""Work that several processes share: the self-proof tries thousands of subjects, none of which needs another."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Subject = TypeVar("Subject")
Result = TypeVar("Result")

_given: list[Any] = []
"""In a process that works for another: what is done to a subject, and the subjects."""


def shared(work: Callable[[Subject], Result], subjects: Sequence[Subject], jobs: int) -> Iterator[Result]:
    """Yield what `work` says of each subject, in their order, by as many processes as `jobs`.

    The processes are forked, so that work and subjects may be what cannot be sent: code, calls, mutants. Results are
    sent back and must be plain. With one job nothing is forked.
    """
    if jobs == 1:
        yield from map(work, subjects)
        return
    with ProcessPoolExecutor(jobs, get_context("fork"), _take, (work, subjects)) as pool:
        yield from pool.map(_work, range(len(subjects)))


def _take(work: Callable[[Any], Any], subjects: Sequence[Any]) -> None:
    _given[:] = [work, subjects]


def _work(index: int) -> Any:
    work, subjects = _given
    return work(subjects[index])

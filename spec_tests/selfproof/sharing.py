"""Work that several processes share: the self-proof tries thousands of subjects, none of which needs another."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

Subject = TypeVar("Subject")
Result = TypeVar("Result")

_given: list[Any] = []
"""In a process that works for another: what is done to a subject, and the subjects."""


def shared(
    work: Callable[[Subject], Result],
    subjects: Sequence[Subject],
    jobs: int,
    note: Callable[[int, Result], None] = lambda _, __: None,
) -> Iterator[Result]:
    """Yield what `work` says of each subject, in their order, by as many processes as `jobs`.

    The processes are forked, so that work and subjects may be what cannot be sent: code, calls, mutants. Results are
    sent back and must be plain. With one job nothing is forked. `note` is told the number of a subject and what was
    said of it as soon as it is there, which is before its turn where an earlier subject takes longer.
    """
    if jobs == 1:
        for index, subject in enumerate(subjects):
            result = work(subject)
            note(index, result)
            yield result
        return
    with ProcessPoolExecutor(jobs, get_context("fork"), _take, (work, subjects)) as pool:
        pending = {pool.submit(_work, index): index for index in range(len(subjects))}
        there: dict[int, Result] = {}
        turn = 0
        try:
            for future in as_completed(pending):
                index = pending[future]
                there[index] = future.result()
                note(index, there[index])
                while turn in there:
                    yield there.pop(turn)
                    turn += 1
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _take(work: Callable[[Any], Any], subjects: Sequence[Any]) -> None:
    _given[:] = [work, subjects]


def _work(index: int) -> Any:
    work, subjects = _given
    return work(subjects[index])

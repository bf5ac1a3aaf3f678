"""Work that several processes share, and work that is done apart: subjects of the self-proof do not need each other."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.connection import Connection
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


def apart(call: Callable[[], Result]) -> Result:
    """Return what a call says in a forked process of its own, which takes with it all that the call leaves behind.

    What it says must be plain. Raises EOFError where that process is killed, ChildProcessError where the call ends in
    an error, which that process prints.
    """
    forking = get_context("fork")
    hears, says = forking.Pipe(duplex=False)
    process = forking.Process(target=_say, args=(call, says))
    process.start()
    says.close()
    try:
        said: Result = hears.recv()
    except EOFError:
        process.join()
        if process.exitcode == 1:
            raise ChildProcessError("what was called in a process of its own ended in the error above") from None
        raise
    process.join()
    return said


def _say(call: Callable[[], Any], says: "Connection[Any, Any]") -> None:
    says.send(call())


def _take(work: Callable[[Any], Any], subjects: Sequence[Any]) -> None:
    _given[:] = [work, subjects]


def _work(index: int) -> Any:
    work, subjects = _given
    return work(subjects[index])

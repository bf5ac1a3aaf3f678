"""Ctrl-C and termination as a request: the step in progress ends, a checkpoint is saved, then the process leaves.

SIGTERM is what a batch system sends some time before it kills: `scancel`, Slurm at the end of the time limit,
Kubernetes when it evicts a pod. The exit code is 128 plus the number of the signal, as a shell reports it: 130 after
Ctrl-C and 143 after SIGTERM. So a job script can tell "requeue me" (143) from "done" (0) and from a failure.
"""

import signal
from types import FrameType, TracebackType
from typing import Self

SIGNAL_EXIT_CODE = 128


class StopRequest:
    """While entered, SIGINT and SIGTERM set `signal`; a second signal acts as it did before."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __call__(self) -> bool:
        """Return whether the process was asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code of a process that ends because it was asked to."""
        return SIGNAL_EXIT_CODE + (self.signal or signal.SIGINT)

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

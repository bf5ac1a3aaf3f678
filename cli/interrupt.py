"""Ctrl-C and termination as a request: the step in progress ends, a checkpoint is saved, then the process leaves."""

import signal
from types import FrameType, TracebackType
from typing import Self

EXIT_CODE = 130


class StopRequest:
    """While entered, SIGINT and SIGTERM set `requested`; a second signal acts as it did before."""

    def __init__(self) -> None:
        self.requested = False
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __call__(self) -> bool:
        """Return whether the process was asked to stop."""
        return self.requested

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

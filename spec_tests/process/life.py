"""Whether a process of a program still lives, seen without asking for process ids, and what signals it hears."""

import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

HEARD: Final[Mapping[signal.Signals, Callable[[int, FrameType | None], object]]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGHUP: lambda *_: None,
}
"""Signals that a parent may have ignored, and what is done at them instead; a program that is started begins with the
usual end, for a handler stays behind where an ignored signal does not."""


@contextmanager
def hearing_interrupts() -> Iterator[None]:
    """Let this process and those that it starts hear Ctrl-C inside, even if its parent had made it deaf to it.

    Those that it starts hear SIGHUP too; this one goes on in spite of it, as whoever used `nohup` wants.
    """
    deaf = [each for each in HEARD if signal.getsignal(each) is signal.SIG_IGN]
    for each in deaf:
        signal.signal(each, HEARD[each])
    try:
        yield
    finally:
        for each in deaf:
            signal.signal(each, signal.SIG_IGN)


class Life:
    """The end of every process that opened a pipe, which the statement `change` makes a program do."""

    def __init__(self, path: Path) -> None:
        self.change = f"LIFE = open({str(path)!r}, 'w')\n"
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def ends(self) -> bool:
        """Return whether the last process ends within five seconds."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLHUP)
        return bool(poll.poll(5000))

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._descriptor)

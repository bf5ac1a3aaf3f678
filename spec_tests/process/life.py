"""Whether a process of a program still lives, seen without asking for process ids, and whether it hears Ctrl-C."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hearing_interrupts() -> Iterator[None]:
    """Let this process and those that it starts hear Ctrl-C inside, even if its parent had made it deaf to it."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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

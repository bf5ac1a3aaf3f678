"""Whether a process of a program still lives, seen without asking for process ids."""

import os
import select
from pathlib import Path


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

"""The directory through which arrays travel: in memory where there is such a place, and gone in the end."""

import os
import tempfile
import weakref
from pathlib import Path

from spec_tests.process.keeper import sweep


class Scratch:
    """A directory of this process's own, known by a descriptor: a program may move it, but not away from that."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        root = memory if os.access(memory, os.W_OK | os.X_OK) else None
        self.path = Path(tempfile.mkdtemp(prefix="atlas-port-", dir=root))
        self.descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        # Runs when this object is forgotten and when the interpreter ends, whichever is first.
        self._farewell = weakref.finalize(self, _remove, self.descriptor, str(self.path))

    @property
    def in_place(self) -> bool:
        """Whether the directory is still where it was made."""
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self.descriptor))
        except OSError:
            return False

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        self._farewell()


def _remove(descriptor: int, path: str) -> None:
    sweep(descriptor, path)
    os.close(descriptor)

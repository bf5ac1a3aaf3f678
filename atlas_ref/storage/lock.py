"""One run a directory: a lock that its process holds, and that ends with the process however it ends.

The lock is `flock` on DIR/.lock. The file stays where it is: whether a run is alive is a property of the lock, not of
the file, so a process that was killed leaves nothing to clean up.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas_ref.errors import UserError
from atlas_ref.reading import open_regular
from atlas_ref.storage.files import naming

UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What a file system without locks answers, such as Lustre mounted without `flock`."""


@contextmanager
def hold(lock: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a run directory; raise UserError when another process does.

    Where the file system has no locks, `say` is told and the run goes on without one.
    """
    with open(open_regular(lock, os.O_RDWR | os.O_CREAT), "rb") as stream:
        try:
            _take(stream.fileno(), fcntl.LOCK_EX, lock)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            say(f"{lock}: this file system has no locks ({error.strerror}); see that no other run writes here")
        yield


def refuse_if_held(lock: Path) -> None:
    """Raise UserError when a process holds the lock; a lock file is neither made nor kept."""
    if not lock.exists():
        return
    with open(open_regular(lock, os.O_RDONLY), "rb") as stream:
        try:
            _take(stream.fileno(), fcntl.LOCK_SH, lock)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise


def _take(descriptor: int, kind: int, lock: Path) -> None:
    try:
        with naming(lock):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{lock.parent}: another process is training here; wait for it, stop it, or give another --out."
        ) from None

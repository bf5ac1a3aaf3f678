"""Whether a run is alive, without touching its lock: to try a lock is to hold it for a moment, and a training that
begins in that moment would find its directory taken.
"""

import os
from pathlib import Path

LOCKS = Path("/proc/locks")
"""Where Linux lists who holds what: `1: FLOCK  ADVISORY  WRITE 7733 fe:00:2148679 0 EOF`."""


def is_held(lock: Path, listed: Path = LOCKS) -> bool | None:
    """Return whether a process of this machine holds the lock of a run, None where the system does not say."""
    try:
        lines = listed.read_text().splitlines()
    except OSError:
        return None
    try:
        found = lock.stat()
    except OSError:
        return False
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    fields = (line.split() for line in lines)
    return any("FLOCK" in each and "WRITE" in each and place in each for each in fields)

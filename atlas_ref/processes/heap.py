"""What happens to memory that a step has freed: it stays with the process, for the next step to take.

By itself glibc gives the pages of a large tensor back as soon as it is freed, and the next tensor of that size gets
them anew, each cleared by the system and mapped at its first touch. A step on a CPU frees and takes the same tensors
as the step before. In `grok-square` those pages took a tenth of its CPU time (docs/grokking.md).
"""

import ctypes
import sys
from typing import Final

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of these two in mallopt(3)."""
LARGEST: Final = 32 * 1024**2
"""Bytes from which on a block is a mapping of its own, which goes back when it is freed: the most that glibc takes."""
KEPT: Final = 2**31 - 1
"""Free bytes at the end of the heap above which they go back: as many as an int has."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, from here on; return whether its C library does so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # Once one of them is set, glibc no longer raises the other by itself, which begins at 128 KiB.
    return mallopt is not None and all([mallopt(TRIM_THRESHOLD, KEPT), mallopt(MMAP_THRESHOLD, LARGEST)])

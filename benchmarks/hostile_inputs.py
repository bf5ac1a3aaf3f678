"""Let the program read files that nobody should send: each must be taken or refused in words, and in little memory.

    python -m benchmarks.hostile_inputs [--count 2000] [--seed 0]

The exit code is 1 when one raises anything but UserError, takes two seconds of CPU time, or 300 MB more than before.
"""

import argparse
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from spec_tests.package.damage.hostile_files import Hostile, draw, read

MOST_SECONDS, MOST_MEGABYTES = 2.0, 300.0


def peak() -> float:
    """Return the largest resident size of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def judge(hostile: Hostile, folder: Path) -> tuple[str, float]:
    """Return how a file ended (taken, refused or what it raised) and the CPU seconds that it took."""
    began = time.process_time()
    try:
        words = read(hostile, folder)
        ended = "taken" if words is None else "refused"
    except Exception:
        ended = traceback.format_exc().splitlines()[-1]
    return ended, time.process_time() - began


def main() -> int:
    """Read all files and print how they ended; return 1 when one did not end well."""
    parser = argparse.ArgumentParser(description="Read hostile files.")
    parser.add_argument("--count", type=int, default=2000, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="which files")
    options = parser.parse_args()
    ends: Counter[tuple[str, str]] = Counter()
    slowest, faults, before = (0.0, ""), [], peak()
    with tempfile.TemporaryDirectory() as folder:
        for hostile in draw(options.count, options.seed):
            ended, seconds = judge(hostile, Path(folder))
            ends[hostile.kind, ended if ended in ("taken", "refused") else "fault"] += 1
            slowest = max(slowest, (seconds, hostile.what))
            if ended not in ("taken", "refused") or seconds > MOST_SECONDS:
                faults.append(f"{hostile.what}: {ended}, {seconds:.2f} s")
    for (kind, ended), count in sorted(ends.items()):
        print(f"{kind:12} {ended:8} {count:5}")
    grown = peak() - before
    print("\n".join(faults), f"slowest: {slowest[0]:.2f} s ({slowest[1]}); memory: {grown:.0f} MB more", sep="\n")
    return 1 if faults or grown > MOST_MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())

"""`atlas` in a process that kills itself with SIGKILL at a counted place.

    python -m spec_tests.package.damage.killed_process NUMBER TRACE train --config ...

NUMBER counts places (`crash_points`) from 1; 0 never kills. Each place is appended to the file TRACE before it is
passed, so its last line says where the process died.
"""

import os
import signal
import sys
from pathlib import Path

from cli.main import main
from spec_tests.package.damage.crash_points import announced


def run() -> None:
    """Run the command line until the place."""
    number, trace = int(sys.argv[1]), Path(sys.argv[2])
    sys.argv[:3] = ["atlas"]
    passed = 0
    with trace.open("ab", buffering=0) as stream:

        def visit(place: str) -> None:
            nonlocal passed
            passed += 1
            stream.write(f"{place}\n".encode())
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)

        with announced(visit):
            main()


if __name__ == "__main__":
    run()

"""A warm Python does what Python does, as far as whoever starts it can tell."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spec_tests.package.warm.start import warm_python

TOLD = """
import os, sys
print(sys.argv, os.getcwd(), os.environ.get("TOLD"), input(), sys.path[0], __name__)
print("an error", file=sys.stderr)
"""
WAYS = {
    "code": ["-c", TOLD, "one", "two"],
    "code without its folder": ["-P", "-c", TOLD.replace("sys.path[0]", "'' in sys.path")],
    "a module": ["-m", "told", "one"],
    "a script": ["told.py", "one"],
    "words": ["-c", "import sys; sys.exit('in words')"],
    "an exit code": ["-c", "raise SystemExit(7)"],
    "an end at once": ["-c", "import os; os._exit(3)"],
    "a signal": ["-c", "import os; os.kill(os.getpid(), 9)"],
    "work at the exit": ["-c", "import atexit; atexit.register(print, 'last'); print('first', end=' ')"],
    "a thread": ["-c", "import threading; threading.Timer(0.01, print, ['later']).start()"],
    "a child": [
        "-c",
        "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'raise SystemExit(5)']))",
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_warm_python_ends_and_says_what_python_does(way: str, tmp_path: Path) -> None:
    """Kills: an argument, a variable, a folder or a stream that is the server's; an end that is lost."""
    (tmp_path / "told.py").write_text(TOLD)
    warm, plain = (
        subprocess.run(
            [python, *WAYS[way]],
            cwd=tmp_path,
            env={**os.environ, "TOLD": "a variable"},
            input="a line",
            capture_output=True,
            text=True,
            check=False,
        )
        for python in (warm_python(), sys.executable)
    )
    assert (warm.returncode, warm.stdout, warm.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_an_error_is_shown_and_is_code_1() -> None:
    """Kills: a traceback that goes to the server."""
    done = subprocess.run([warm_python(), "-c", "1 / 0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "ZeroDivisionError: division by zero")


WAITS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("begun", flush=True)
signal.pause()
"""


def test_a_signal_reaches_the_work_and_the_work_ends_with_what_was_started() -> None:
    """Kills: a signal that ends the stub alone; work that outlives whoever asked for it."""
    for number, code in ((signal.SIGTERM, 9), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen([warm_python(), "-c", WAITS], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            process.send_signal(number)
            assert process.stdout.read() == b"", "the output closes when the work has ended"
        assert process.returncode == code


def test_what_takes_long_to_import_is_imported_already() -> None:
    """Kills: a server that starts Python anew, which costs what it is there to save."""
    asked = [warm_python(), "-c", "import sys; print('torch' in sys.modules, 'pytest' in sys.modules)"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "True True\n"

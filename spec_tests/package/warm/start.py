"""A Python that starts warm."""

import atexit
import os
import shlex
import shutil
import socket
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from spec_tests.package.warm import stub

ROOT: Final = Path(__file__).parents[3]
LINE: Final = "line"


@cache
def warm_python() -> str:
    """Return the path of a program that does what `sys.executable` does, in a process that begins with all imported.

    What it runs is forked from one process, which lives as long as any that called this and that runs tests beside it.
    So no test has it show what a process imports, that it starts at all, or how a signal finds it while it starts.
    """
    made = Path(tempfile.mkdtemp(prefix="atlas-warm-"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(made / LINE))
    listener.listen()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = made.with_name(f"atlas-warm-{run}") if run else made
    _write_program(made / stub.PROGRAM, folder / LINE)
    with listener:
        try:
            made.rename(folder)
        except OSError:  # Another process of this run was first.
            shutil.rmtree(made)
            _hold(folder / LINE)
        else:
            _hold(folder / LINE)
            _start(listener, folder)
    return str(folder / stub.PROGRAM)


def _write_program(program: Path, line: Path) -> None:
    words = [sys.executable, "-I", "-S", stub.__file__, str(line), sys.executable]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o700)


def _hold(line: Path) -> None:
    """Have the server live as long as this process."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(line))
    connection.sendall(stub.LENGTH.pack(0))
    atexit.register(connection.close)


def _start(listener: socket.socket, folder: Path) -> None:
    """Start the server, which takes what is asked meanwhile when it has imported all."""
    listener.set_inheritable(True)
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # No subprocess.Popen: nobody waits for the server, which may outlive this process.
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "spec_tests.package.warm.server", str(listener.fileno()), str(folder)],
        {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        file_actions=[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)],
        setpgroup=0,
    )

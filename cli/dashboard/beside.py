"""The page beside a training: a process of its own, which ends with the training and whose end the training survives.

    with beside(directory) as address: ...

Its standard input is a pipe that the training holds open. However the training ends, the system closes the pipe, which
ends the server. It shares neither the terminal's signals nor any file with the training, and gives way to it.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from cli.dashboard.server import address, listen, serve
from cli.dashboard.watched import Watch

GIVES_WAY = 10
"""By how much the server is nicer than the training."""
PATIENCE = 5.0
"""Seconds that the server has to end."""


@contextmanager
def beside(directory: Path) -> Iterator[str]:
    """Serve the page of a run while the block lasts, and provide its address."""
    with listen(0) as listening:
        place = address(listening)
        number = listening.fileno()
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.dashboard.beside", str(number), str(directory.absolute())],
            # Where this process found its modules, whatever lies in the working directory.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[number],
            start_new_session=True,
        )
    try:
        yield place
    finally:
        end(server)


def end(server: "subprocess.Popen[bytes]") -> None:
    """Let go of the pipe, and wait until the server has ended, which somebody may have ended before."""
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _ends_with_input(server: uvicorn.Server) -> None:
    """End a server when its standard input does."""

    def wait() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Serve on the socket that was handed over."""
    os.nice(GIVES_WAY)
    number, directory = sys.argv[1:]
    with socket.socket(fileno=int(number)) as listening:
        serve(Watch([Path(directory)]), listening, _ends_with_input)


if __name__ == "__main__":
    main()

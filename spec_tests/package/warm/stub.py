"""What a warm Python looks like from outside: hands its work to the server, and ends as the work does.

Run as `python -I -S stub.py LINE PYTHON ARGUMENTS`: LINE is the server's socket, PYTHON the interpreter that runs what
the server cannot: anything but `-m` and `-c`, alone or after `-P` or `-u`. Only the standard library, and little of it.
"""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

LENGTH: Final = struct.Struct("!Q")
STATUS: Final = struct.Struct("!i")
TOLD: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that the work is told of; whatever else ends the stub ends the work with it."""
PROGRAM: Final = "python"
"""The file that starts this, in the folder of the socket."""
FLAGS: Final = ("-P", "-u")
LOST: Final = 70
"""The exit code where the server is gone with the work (EX_SOFTWARE)."""


def main(line: str, python: str, arguments: Sequence[str]) -> NoReturn:
    """Have the server do what `python ARGUMENTS` would, and end as it ends."""
    if next((each for each in arguments if each not in FLAGS), "") not in ("-m", "-c"):
        os.execv(python, [python, *arguments])
    work = {"arguments": list(arguments), "environment": dict(os.environ), "folder": os.getcwd()}
    message = json.dumps(work).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(line)
        socket.send_fds(server, [LENGTH.pack(len(message))], [0, 1, 2])
        server.sendall(message)
        _let_go()
        for number in TOLD:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda given, _: server.send(bytes([given])))
        end_as(_status(server))


def _let_go() -> None:
    """Leave the streams to the work alone, so that who reads them sees it close them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _status(server: socket.socket) -> int:
    """Return how the work ended, as wait(2) has it."""
    found = server.recv(STATUS.size, socket.MSG_WAITALL)
    return int(STATUS.unpack(found)[0]) if len(found) == STATUS.size else LOST << 8


def end_as(status: int) -> NoReturn:
    """End this process as one with that status did: with its exit code, or by its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pause()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])

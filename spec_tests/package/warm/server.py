"""The process that has imported everything, and forks one process for each piece of work that a stub hands it.

Run as `python -m spec_tests.package.warm.server LISTENER FOLDER`: the descriptor of a socket that listens, and a folder
that is removed at the end. That is when nobody holds a connection any more, over which a length of 0 was sent. Between
it and the work stands a watcher, which tells the stub how the work ended and ends all of it when the stub is gone.
"""

import atexit
import gc
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from itertools import takewhile
from types import ModuleType
from typing import Any, Final, NoReturn

import pytest

from spec_tests.package.warm.stub import FLAGS, LENGTH, PROGRAM, STATUS
from spec_tests.report.launch import SETTINGS

LATER: Final = sys.path[1 + len(list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))) :]
"""Where this process finds modules, without its own folder and what the environment says."""


def main(listener: socket.socket, folder: str) -> None:
    """Serve as long as someone holds a connection; in each forked process, do its work and end as Python does."""
    pytest.main(["--markers", "--noconftest", "-c", str(SETTINGS), "-p", "spec_tests.package.warm.imported"])
    # Forks share these objects for as long as nothing goes through them.
    gc.collect()
    gc.freeze()
    work = _serve(listener)
    # What the work starts is warm too.
    sys.executable = os.path.join(folder, PROGRAM)
    if work is not None:
        end(work)
    shutil.rmtree(folder, ignore_errors=True)


def _serve(listener: socket.socket) -> dict[str, Any] | None:
    """Return the work in the process that is to do it, and None in the server when nobody holds it any more."""
    holders: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *holders], [], [])
        _reap()
        for holder in set(ready) - {listener}:
            holders.remove(holder)
            holder.close()
        if listener in ready:
            stub, _ = listener.accept()
            first, streams, _, _ = socket.recv_fds(stub, LENGTH.size, 3)
            length = LENGTH.unpack(first)[0] if len(first) == LENGTH.size else 0
            if not streams:
                holders.append(stub)
                continue
            if not os.fork():
                listener.close()
                message = stub.recv(length, socket.MSG_WAITALL)
                _watched(stub, streams)
                work: dict[str, Any] = json.loads(message)
                return work
            stub.close()
            for stream in streams:
                os.close(stream)
        if not holders:
            return None


def _reap() -> None:
    """Wait for the watchers that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watched(stub: socket.socket, streams: list[int]) -> None:
    """Return in a new process that has these streams; watch it in this one, and end with it."""
    child = os.fork()
    if not child:
        os.setsid()
        stub.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for stream in streams:
            os.close(stream)
        return
    for number in (0, 1, 2, *streams):
        os.close(number)
    _watch(stub, child)


def _watch(stub: socket.socket, child: int) -> NoReturn:
    """Tell the child what the stub is told, and the stub how the child ends."""
    ended, awake = os.pipe()
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(awake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    heard: list[socket.socket | int] = [stub, ended]
    while True:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            with suppress(OSError):
                stub.sendall(STATUS.pack(status))
            os._exit(0)
        ready, _, _ = select.select(heard, [], [])
        if ended in ready:
            os.read(ended, 1)
        if stub in ready:
            given = stub.recv(1)
            with suppress(ProcessLookupError):
                if given:
                    os.kill(child, given[0])
                else:
                    os.killpg(child, signal.SIGKILL)
                    os._exit(0)


def end(work: dict[str, Any]) -> NoReturn:
    """Do the work and end with its exit code, as Python does; but leave what was imported where it is."""
    code = 0
    try:
        run(work)
    except SystemExit as given:
        code = _code(given)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _code(given: SystemExit) -> int:
    """Return the exit code, after the words where it is words."""
    if given.code is None or isinstance(given.code, int):
        return (given.code or 0) & 0xFF
    print(given.code, file=sys.stderr)
    return 1


def run(work: dict[str, Any]) -> None:
    """Do what `python ARGUMENTS` does in that environment and folder."""
    arguments = list(work["arguments"])
    os.chdir(work["folder"])
    os.environ.clear()
    os.environ.update(work["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    flags = set(takewhile(FLAGS.__contains__, arguments))
    kind, what, *words = arguments[len(flags) :]
    _open_streams(at_once="-u" in flags)
    first = [] if "-P" in flags else ["" if kind == "-c" else os.getcwd()]
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*first, *given, *LATER]
    sys.argv = [kind, *words]
    if kind == "-c":
        begun = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(begun))
    else:
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)


def _open_streams(*, at_once: bool) -> None:
    """Have sys.stdin and the others be the streams of this process, as Python opens them."""
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    at_once = at_once or bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = TextIOWrapper(BufferedReader(FileIO(0, closefd=False)), encoding, errors)
    sys.stdout = TextIOWrapper(
        BufferedWriter(FileIO(1, "w", closefd=False)), encoding, errors, None, os.isatty(1), at_once
    )
    sys.stderr = TextIOWrapper(
        BufferedWriter(FileIO(2, "w", closefd=False)), encoding, "backslashreplace", None, True, at_once
    )


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as line:
        main(line, sys.argv[2])

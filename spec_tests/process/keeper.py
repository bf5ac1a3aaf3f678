"""What stands between the suite and a program: when the program ends, or the suite does, nothing of it is left behind.

A child of a program that begins a session of its own leaves the program's group, and when its parent ends nobody knows
whose it was. On Linux such a process goes to the nearest ancestor that asked to be its reaper. That is this process,
one for each program, so every process of the program ends up among its own children and can be ended. Elsewhere only
the program's group can be. The suite speaks to it through a socket; where that closes, the suite is gone.

Run as `python -I -S keeper.py CONTROL SCRATCH FOLDER PROGRAM ARGUMENTS`, with two descriptors and the path of the
second. Only the standard library, and little of it: every start of a program waits for this one.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Final, NoReturn

STARTED: Final = b"started "
FAILED: Final = b"failed "
"""The first word to the suite: with the process id of the program, or the number of the error that kept it away."""
GONE: Final = b"gone\n"
"""The last word to the suite: no process of the program is left."""
STOP, HERE = b"stop\n", b"here\n"
"""Words of the suite: that ends the program, and that it waits for the program's end. Without a word it has ended."""
PATIENCE: Final = 3.0
"""Seconds that killed processes have to be gone."""
LINGER: Final = 1.0
"""Seconds that the suite has to speak, or to be gone, when the program has ended without a word of it."""
TICK: Final = 0.01
DEAF_TO: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a program might send to its parent, and the suite's terminal to everyone."""
SUBREAPER, DEATH_SIGNAL = 36, 1
"""Numbers of prctl(2)."""


def main(arguments: Sequence[str]) -> NoReturn:
    """Start the program, wait for its end or for the word of the suite, end what is left, and end as it did."""
    control, scratch, folder = int(arguments[0]), int(arguments[1]), arguments[2]
    for descriptor in (control, scratch):
        os.set_inheritable(descriptor, False)
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    prctl = _prctl()
    prctl(SUBREAPER, 1)
    awake = _wake_for_children()
    program = _start(arguments[3:], control, prctl)
    _leave_to_the_program()
    status, heard = _watch(program, control, awake)
    end_all(program)
    if not heard and not _is_there(control):
        sweep(scratch, folder)
    with suppress(OSError):
        os.write(control, GONE)
    _end_as(status)


def _prctl() -> Callable[[int, int], object]:
    """Return Linux's prctl(2); elsewhere, and where it cannot be found, a function that does nothing."""
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            call = ctypes.CDLL(None).prctl
            return lambda option, value: call(option, ctypes.c_ulong(value), 0, 0, 0)
    return lambda option, value: None


def _wake_for_children() -> int:
    """Return a descriptor that can be read when a child has ended."""
    awake, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return awake


def _start(command: Sequence[str], control: int, prctl: Callable[[int, int], object]) -> int:
    """Start the program in a session of its own; tell the suite its process id, or why it cannot be started."""
    heard, says = os.pipe()
    keeper, program = os.getpid(), os.fork()
    if program == 0:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (*DEAF_TO, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            # Whoever ends the keeper ends the program.
            prctl(DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() == keeper:
                os.execvp(command[0], list(command))
        except OSError as error:
            os.write(says, str(error.errno).encode())
        os._exit(127)
    os.close(says)
    failure = os.read(heard, 16)
    os.close(heard)
    os.write(control, FAILED + failure + b"\n" if failure else STARTED + str(program).encode() + b"\n")
    if failure:
        os._exit(127)
    return program


def _leave_to_the_program() -> None:
    """Let go of the program's standard input and outputs: they close when it closes them."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _watch(program: int, control: int, awake: int) -> tuple[int, bool]:
    """Return how the program ended, or 0, and whether the suite has spoken; without a word it is gone, or about to."""
    poll, heard = select.poll(), False
    poll.register(control, select.POLLIN)
    poll.register(awake, select.POLLIN)
    while True:
        for ended, status in _reaped():
            if ended == program:
                return status, heard
        if control in dict(poll.poll()):
            words = _words(control)
            heard = words != b""
            if not heard or STOP in words:
                return 0, heard
        with suppress(BlockingIOError):
            os.read(awake, 1 << 12)


def _words(control: int) -> bytes:
    """Return what the suite says, which waits to be read; "" where it is gone."""
    with suppress(ConnectionError):
        return os.read(control, 1 << 12)
    return b""


def _is_there(control: int) -> bool:
    """Return whether the suite is there when the program has ended.

    A killed suite closes its ends one after another, and the program may leave at the first of them.
    """
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return not poll.poll(1000 * LINGER) or _words(control) != b""


def _reaped() -> Iterator[tuple[int, int]]:
    """Yield every child that has ended, the adopted ones included, with its status; ChildProcessError where none is."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def end_all(program: int) -> None:
    """Kill the program's group and every child of this process, and theirs as they come to it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(TICK)


def _children() -> list[int]:
    """Return the children of this process, as far as the system tells."""
    with suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
    return []


def sweep(descriptor: int, folder: str) -> None:
    """Remove a directory by its descriptor: wherever it was moved to, whatever is in it, however it may be read.

    `folder` is where it was made, for systems that do not tell where it is.
    """
    with suppress(OSError):
        _empty(descriptor)
        with suppress(OSError):
            folder = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.samestat(os.lstat(folder), os.fstat(descriptor)):
            os.rmdir(folder)


def _empty(top: int) -> None:
    """Remove all that is in a directory. Folders in folders are first moved up: they may be deeper than any stack."""
    os.fchmod(top, 0o700)
    fresh, left = count(), [""]
    while (names := os.listdir(top)) and names != left:
        left = names
        for name in names:
            with suppress(OSError):
                _dissolve(name, top, fresh)


def _dissolve(name: str, top: int, fresh: Iterator[int]) -> None:
    try:
        os.unlink(name, dir_fd=top)
    except (IsADirectoryError, PermissionError):  # Linux says the first of a directory, other systems the second.
        os.chmod(name, 0o700, dir_fd=top)
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            for inner in os.listdir(folder):
                os.rename(inner, f".{os.getpid()}-{next(fresh)}", src_dir_fd=folder, dst_dir_fd=top)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)


def _end_as(status: int) -> NoReturn:
    """End as the program did, by the same signal or with the same code."""
    if os.WIFSIGNALED(status):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler to put back.
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A program that is asked for one line at a time: started, watched, and ended together with all that it started.

Nothing here waits without a limit or keeps more than a bounded part of what the program prints, so a program that
hangs, floods or dies costs one question and no more. POSIX only: it uses process groups and poll(2). Between the two
stands a keeper, which ends what the program leaves behind.
"""

import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import IO, Final

from atlas_ref.wording import visible
from spec_tests.contract.outcome import PortError
from spec_tests.process import keeper
from spec_tests.process.protocol import Bye, stray
from spec_tests.process.scratch import Scratch

CHUNK: Final = 1 << 16
LINE_CAP: Final = 1 << 20
"""Most bytes of one line of standard output."""
ERRORS_KEPT: Final = 1 << 14
"""Most bytes of standard error that are kept for one question, the last ones."""
ERRORS_SHOWN: Final = 20
"""Most lines of standard error that a message repeats."""
TICK: Final = 0.05
"""Seconds between two looks at whether a silent program still lives."""
LAST_BREATH: Final = 2.0
"""Seconds between the end of a program's output and its own."""
LAST_WAIT: Final = 5.0
"""Seconds that a killed program has to be gone."""
START: Final = 30.0
"""Seconds that the start of a process may take."""
WORDS: Final = 256
"""More bytes than a keeper ever says."""
FAREWELL: Final = 2.0
"""Seconds that a program has to end after `bye` when nobody waits for its exit code."""


class BrokenError(PortError):
    """The program is lost: it ended, or did not answer in time."""


class UnheardError(BrokenError):
    """The program ended before it read anything of the question: something earlier ended it."""


class Program:
    """A running program; every error but OSError at the start means that it must be stopped."""

    def __init__(self, arguments: Sequence[str], scratch: Scratch) -> None:
        self._control, control = socket.socketpair()
        given = (control.fileno(), scratch.descriptor)
        with control:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, *map(str, given), str(scratch.path), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=given,
            )
        # Runs when this object is forgotten and when the interpreter ends, whichever is first.
        self._farewell = weakref.finalize(self, _end, self._process, self._control)
        self._await_start()
        self._in, self._out, self._err = (stream.fileno() for stream in _pipes(self._process))
        self._poll = select.poll()
        self._listening = {self._out, self._err}
        for descriptor in (self._in, self._out, self._err):
            os.set_blocking(descriptor, False)
        for descriptor in self._listening:
            self._poll.register(descriptor, select.POLLIN)
        self._output = bytearray()
        self._errors = bytearray()
        self._asked = False
        self._sent = 0

    def _await_start(self) -> None:
        """Return when the program runs; OSError where the system does not start it."""
        try:
            self._control.settimeout(START)
            word = self._control.recv(WORDS, socket.MSG_PEEK)
        except BaseException:
            self.stop()
            raise
        if not word.startswith(keeper.STARTED):
            self.stop()
            number = int(word.removeprefix(keeper.FAILED) or errno.ECHILD)
            raise OSError(number, os.strerror(number))

    def ask(self, message: bytes, seconds: float) -> bytes:
        """Send a line and return the next one; BrokenError or ProtocolError in the program's place."""
        deadline = time.monotonic() + seconds
        self._pump(0.0)
        self.demand_silence()
        if self._asked:  # What came on standard error before the first question tells why a start failed.
            self._errors.clear()
        self._asked = True
        self._sent = 0
        self._send(message, deadline)
        return self._line(deadline, seconds)

    def demand_silence(self) -> None:
        """Raise ProtocolError where a line has come that nothing asked for."""
        if self._output:
            raise stray(bytes(self._output))

    def demand_rest(self) -> None:
        """Raise ProtocolError or BrokenError where a program that is not asked anything has printed or ended since."""
        self._pump(0.0)
        self.demand_silence()
        if self._process.poll() is not None or self._out not in self._listening:
            raise self._ended()

    def wait(self, seconds: float) -> int:
        """Return the exit code of a program that is expected to end; BrokenError if it does not."""
        deadline = time.monotonic() + seconds
        _speak(self._control, keeper.HERE)
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise BrokenError(f"did not end within {seconds:g} s")
            self._pump(TICK)
        self._pump(0.0)
        return self._process.returncode

    def bye(self, seconds: float) -> int:
        """Say that this is all, and return the exit code; BrokenError if the program does not end."""
        self._send(Bye().line(), time.monotonic() + seconds)
        return self.wait(seconds)

    def errors(self) -> str:
        """Return the last lines of standard error since the last question, indented; "" if there are none."""
        with suppress(PortError):
            self._pump(0.0)
        lines = self._errors.decode(errors="replace").splitlines()[-ERRORS_SHOWN:]
        return "".join(f"\n    {visible(line)}" for line in lines)

    def stop(self) -> None:
        """Kill the program and every process that it started, without a word."""
        self._farewell.detach()
        _kill(self._process, self._control)

    def close(self) -> None:
        """Say bye, wait a little, and kill what is left."""
        self._farewell()

    def _pump(self, seconds: float) -> bool:
        """Read what has come, waiting up to `seconds` for it; True where something came on standard output."""
        heard = False
        for descriptor, _ in self._poll.poll(ceil(1000 * seconds)):
            chunk = os.read(descriptor, CHUNK)
            if not chunk:
                self._poll.unregister(descriptor)
                self._listening.discard(descriptor)
            elif descriptor == self._err:
                self._errors = (self._errors + chunk)[-ERRORS_KEPT:]
            else:
                self._output += chunk
                heard = True
        if len(self._output) > LINE_CAP:
            raise stray(bytes(self._output[:LINE_CAP]))
        return heard

    def _send(self, message: bytes, deadline: float) -> None:
        while message:
            try:
                sent = os.write(self._in, message)
                self._sent, message = self._sent + sent, message[sent:]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BrokenError("does not read its standard input") from None
                self._pump(TICK)
            except BrokenPipeError:
                raise self._ended() from None

    def _line(self, deadline: float, seconds: float) -> bytes:
        while (end := self._output.find(b"\n")) < 0:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._silent(seconds)
            # Looked at before reading: what a program said before it ended is still in the pipe.
            ended = self._process.poll() is not None
            heard = self._pump(min(left, TICK))
            if not heard and (ended or self._out not in self._listening):
                raise self._ended()
        line = bytes(self._output[:end])
        del self._output[: end + 1]
        return line

    def _unheard(self) -> bool:
        """Return whether nothing of the last question was read, as far as the system tells (Linux does)."""
        unread = fcntl.ioctl(self._in, termios.FIONREAD, bytes(4))
        return self._sent <= int.from_bytes(unread, sys.byteorder)

    def _silent(self, seconds: float) -> BrokenError:
        begun = f"it printed {bytes(self._output[:80])!r} and no end of line; " if self._output else ""
        return BrokenError(f"no answer within {seconds:g} s; {begun}is standard output flushed after every line?")

    def _ended(self) -> BrokenError:
        kind = UnheardError if self._unheard() else BrokenError
        _speak(self._control, keeper.HERE)
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=LAST_BREATH)
            if code < 0:
                return kind(f"the program was killed by signal {-code} ({signal.strsignal(-code)})")
            return kind(f"the program ended with exit code {code}")
        return kind("the program closed its standard input or output and went on running")


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


def _speak(control: socket.socket, word: bytes) -> None:
    """Say a word to the keeper, which may have ended."""
    with suppress(OSError):
        control.send(word)


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    _speak(control, keeper.HERE)
    with suppress(OSError):
        os.write(_pipes(process)[0].fileno(), Bye().line())
    with suppress(OSError):
        _pipes(process)[0].close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=FAREWELL)
    _kill(process, control)


def _kill(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    _speak(control, keeper.STOP)
    # A process that not even SIGKILL ends (it waits in a driver) is left behind rather than waited for.
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=LAST_WAIT)
    if process.poll() is None:
        # Something stopped the keeper; the program dies with it.
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=LAST_WAIT)
    with suppress(OSError):
        _end_group(control.recv(WORDS))
    control.close()
    for stream in _pipes(process):
        stream.close()


def _end_group(words: bytes) -> None:
    """Kill the group of a program whose keeper was killed before it could say that nothing is left."""
    if words.startswith(keeper.STARTED) and not words.endswith(keeper.GONE):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(words.split()[1]), signal.SIGKILL)

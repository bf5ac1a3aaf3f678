"""Programs that a model wrote are run, where somebody asked for it, in a process that is shut off (`shut_off`).

A program is right when it and all its checks end without an error: the process then says a word that it was given,
which no exit code can say for it. A program that searched the memory of its own interpreter for that word could say it
too: a verdict is no proof against a program that is made to deceive.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from atlas_ref.errors import UserError
from atlas_ref.judging import shut_off

Isolation = Literal["isolated", "limited"]
MOST_ANSWER = 256
"""Bytes that are read of an answer."""
SAID: dict[Isolation, str] = {
    "isolated": (
        "programs run in processes of their own without network, files, other processes or privileges, with limits on "
        "time and memory"
    ),
    "limited": (
        "programs run with limits on time, memory, written bytes and processes, but NOT isolated: they may use the "
        "network, end other processes, and read and remove files, as this user may (as nobody where that is root)"
    ),
}
"""What is isolated and what is not, in a sentence."""


class Limits(NamedTuple):
    """What one program may use."""

    seconds: int = 5
    """Of the processor."""
    wall: float = 30.0
    """Seconds by the clock, for a program that waits."""
    memory: int = 2**29
    """Bytes of address space."""


class Programs(NamedTuple):
    """How programs are run."""

    isolation: Isolation
    limits: Limits = Limits()

    def passes(self, program: str, checks: Sequence[str]) -> bool:
        """Return whether a program and its checks end without an error, within the limits.

        Raises UserError where the system does not let a process shut itself off as it should.
        """
        word = secrets.token_hex(16)
        job = {
            "isolated": self.isolation == "isolated",
            "seconds": self.limits.seconds,
            "memory": self.limits.memory,
            "program": program,
            "checks": [*checks],
            "word": word,
        }
        answer = self._answer(json.dumps(job).encode())
        if answer.startswith(beginning := shut_off.cannot(word)):
            reason = answer.removeprefix(beginning)
            raise UserError(
                f"programs cannot be {self.isolation} on this machine ({reason}): network, files and other processes "
                "would be in their reach, so none is run; without --run-code they are judged by their next tokens."
            )
        return answer == word

    def said(self) -> str:
        """Return what is isolated and what is not, in a sentence."""
        return SAID[self.isolation]

    def prove(self) -> None:
        """Raise UserError unless a right program passes and a wrong one does not."""
        if not self.passes("x = 1", ["assert x == 1"]) or self.passes("x = 1", ["assert x == 2"]):
            raise UserError(
                "programs cannot be run on this machine: one that only says x = 1 did not end as it should."
            )

    def _answer(self, job: bytes) -> str:
        """Start the process, give it its job, and return what it says before it ends or is ended."""
        command = [sys.executable, "-I", "-S", str(Path(shut_off.__file__))]
        with tempfile.TemporaryDirectory() as folder:
            # `nobody` must be able to be there.
            os.chmod(folder, 0o755)
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={},
                start_new_session=True,
            )
            timer = threading.Timer(self.limits.wall, _end, [process])
            timer.start()
            try:
                with process:
                    assert process.stdin is not None
                    assert process.stdout is not None
                    with suppress(BrokenPipeError):
                        process.stdin.write(job)
                        process.stdin.close()
                    answer = process.stdout.read(MOST_ANSWER)
                    # Whatever it still does has no say any more.
                    _end(process)
            finally:
                timer.cancel()
        return answer.decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all of its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

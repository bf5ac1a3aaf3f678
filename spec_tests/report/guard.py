"""A run in a process of its own, whose exit code is believed only with the word of a finished report.

A port of the suite's process can end it with any code: os._exit(0), STOP in Fortran, exec, a signal. So whoever starts
a run gives it a token drawn for it alone, and the run hands the token back at its very end, with the code and the
counts of the report. A process that ends without is a suite that was not whole, whatever it ended with.

This guards against accidents. A port of the suite's process could find the token if it looked for it.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from spec_tests.report.model import Frozen, Report, Verdict

VARIABLE: Final = "ATLAS_WITNESS"
"""The variable with the token of a run and the folder that its word goes to."""
WORD: Final = "word.json"
PLACE: Final = "place"
BROKEN: Final = Verdict.INTEGRITY.exit_code
INTERRUPTED: Final = 130
LAST_WAIT: Final = 2.0
"""Seconds that a finished run has to end, in spite of whatever threads a port leaves behind."""


class DoubtError(Exception):
    """Why the exit code of a run says nothing."""


class Word(Frozen):
    """The last that a run writes: `code` for whoever started it, `ends` as its process ends."""

    token: str
    code: int
    ends: int
    passed: int = 0
    asked: int = 0


def guarded(command: Sequence[str], *, folder: Path | None = None, quiet: bool = False) -> int:
    """Run a command whose plugin gives its word; return the code of the word, or 4 after a sentence where none came."""
    with tempfile.TemporaryDirectory(prefix="atlas-witness-") as witness:
        token = secrets.token_hex(16)
        environment = {**os.environ, VARIABLE: f"{token}:{witness}"}
        stdout = subprocess.DEVNULL if quiet else None
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout) as process:
            ended, pressed = _wait(process)
        try:
            return read_word(Path(witness), token, ended).code
        except DoubtError as doubt:
            if pressed:
                return INTERRUPTED
            print(f"Error: the suite is not whole: {doubt}.", file=sys.stderr)
            return BROKEN


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the exit code and how often Ctrl-C was pressed: the run gets the first itself, the second ends it."""
    pressed = 0
    while True:
        try:
            return process.wait(), pressed
        except KeyboardInterrupt:
            pressed += 1
            if pressed > 1:
                process.kill()


def read_word(witness: Path, token: str, ended: int) -> Word:
    """Return the word that a run left; raise DoubtError where there is none, or none that can be believed."""
    how = f"its process ended with {f'exit code {ended}' if ended >= 0 else f'signal {-ended}'}"
    try:
        word = Word.model_validate_json((witness / WORD).read_bytes())
    except FileNotFoundError:
        where = (witness / PLACE).read_text() if (witness / PLACE).is_file() else "before its first case"
        raise DoubtError(f"{how} {where}, and no report was finished; behind cmd:PROGRAM a port ends its own") from None
    except ValidationError:
        raise DoubtError(f"{how}, and its last word cannot be read") from None
    if word.token != token:
        raise DoubtError(f"{how}, and the word that it left is of another run")
    if word.ends != ended:
        raise DoubtError(f"{how}, although its report ends with {word.ends}")
    if word.code == 0 and not 0 < word.passed == word.asked:
        raise DoubtError(f"it ended as conformant, although {word.passed} of {word.asked} cases passed")
    return word


@dataclass(frozen=True)
class Witness:
    """The side of the run: where its word goes."""

    token: str
    folder: Path

    @classmethod
    def appointed(cls) -> "Witness | None":
        """Return the witness that whoever started this process asked for, once; what the port starts inherits none."""
        token, found, folder = os.environ.pop(VARIABLE, "").partition(":")
        return cls(token, Path(folder)) if found else None

    def stand(self, place: str) -> None:
        """Leave where the run is, for the sentence that tells of its sudden end."""
        (self.folder / PLACE).write_text(place)

    def give(self, code: int, ends: int, report: Report | None = None) -> None:
        """Leave the word. From here on the process has a few seconds to end."""
        levels = report.levels if report else ()
        passed, asked = (sum(getattr(level, name) for level in levels) for name in ("passed", "defined"))
        word = Word(token=self.token, code=code, ends=ends, passed=passed, asked=asked)
        sys.stdout.flush()
        (self.folder / WORD).write_text(word.model_dump_json())
        # The interpreter waits for threads that are no daemons; a port may leave one that never ends.
        last = threading.Timer(LAST_WAIT, os._exit, [ends])
        last.daemon = True
        last.start()

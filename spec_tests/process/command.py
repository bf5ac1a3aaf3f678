"""The command line of a program, and how long it may take."""

import os
import shlex
import shutil
from typing import Final

from atlas_ref.errors import UserError

TIMEOUT: Final = "ATLAS_PORT_TIMEOUT"
"""The variable with the seconds allowed for a case."""


SECONDS: Final = 60.0


def split(command: str) -> list[str]:
    """Return the words of a command line; UserError where they name no program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"cmd:{command}: {error}.") from error
    if not words or shutil.which(words[0]) is None:
        name = words[0] if words else ""
        raise UserError(f"cmd:{command}: '{name}' is not a program that can be run; expected cmd:PROGRAM ARGUMENTS.")
    return words


def seconds_allowed() -> float:
    """Return the seconds allowed for a case; UserError where the variable holds something else."""
    text = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(text or SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise UserError(f"{TIMEOUT}={text}: expected a number of seconds above 0.")
    return seconds

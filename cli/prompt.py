"""The prompt of `atlas generate`: given, read from a file, or from standard input; never more than a book."""

import io
import sys
from pathlib import Path
from typing import IO

from atlas_ref.errors import UserError

MOST_BYTES = 2**20
STANDARD_INPUT = "-"


def prompt_text(prompt: str | None, file: Path | None) -> str | None:
    """Return the text to go on from, None where neither says one; raise UserError for what is no prompt.

    `prompt` is the text itself, or "-" for all of standard input. Files and standard input are taken as they are, the
    last line break too, and must be UTF-8 text of at most MOST_BYTES bytes; a byte-order mark is dropped.
    """
    if file is not None:
        if prompt is not None:
            raise UserError("--prompt and --prompt-file both name a prompt; give one of them.")
        return _from_file(file)
    if prompt != STANDARD_INPUT:
        return prompt
    # Closed by whoever started the program, there is none, which is like an empty one.
    return _text("standard input", sys.stdin.buffer if sys.stdin else io.BytesIO())


def _from_file(file: Path) -> str:
    # A pipe or a device may have no end, or never begin.
    if file.exists() and not file.is_file():
        raise UserError(f"{file}: is no regular file; a prompt from a pipe is read with --prompt -.")
    with file.open("rb") as content:
        return _text(str(file), content)


def _text(name: str, content: IO[bytes]) -> str:
    found = content.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise UserError(f"{name}: is longer than {MOST_BYTES:,} bytes, the most that a prompt may have.")
    try:
        return found.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text (byte {error.start} cannot be decoded).") from None

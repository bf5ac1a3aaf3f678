"""Reading what comes from outside: regular files of a bounded size, in time and memory that grow with it and no faster.

What a file is, is asked of the open file and before it is opened, so that a pipe never waits and a device is never
touched, whatever is put in its place meanwhile. Texts are looked over for how many values they hold and how deep these
lie before a parser sees them: an empty list takes three bytes of JSON and twenty times as many of memory.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from atlas_ref.errors import UserError

MOST_BYTES = 2**25
"""The largest JSON file that is read: the description of a checkpoint with the largest tokenizer is not half of it."""
MOST_VALUES = 500_000
"""Most values in a JSON file, not counting what its texts hold."""
MOST_DEPTH = 64
"""Lists and objects in each other: no file of this program has a fourth of it."""

JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def open_regular(path: Path, flags: int) -> int:
    """Return a descriptor of a regular file; raise UserError for anything else, which could be endless or never answer.

    Raises OSError where the operating system refuses, FileNotFoundError among them.
    """
    # A device may act on being opened, so it is not; what takes the place of a file in between is closed again.
    if path.is_file() or not path.exists():
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise UserError(f"{path}: is not a regular file.")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Provide a regular file to read; raise UserError where there is none, or when it cannot be read."""
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file; raise UserError for one that has more than `most` bytes."""
    with opened(path) as stream:
        large = os.fstat(stream.fileno()).st_size > most
        content = b"" if large else stream.read(most + 1)
    if large or len(content) > most:
        raise UserError(f"{path}: has more than {most:,} bytes, too many for a file of its kind.")
    return content


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`; raise UserError, naming the file, when there is none (`parse_json`)."""
    content = read_bytes(path, MOST_BYTES)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UserError(f"{path}: is not JSON of this program ({error}).") from None


def parse_json(content: bytes, most_values: int = MOST_VALUES) -> Any:
    """Return the value of a JSON text in UTF-8; raise ValueError, with a short reason, for anything else.

    Refused too are what JSON does not say clearly (NaN, infinities, numbers that overflow, a key twice in an object,
    halves of surrogate pairs), more than `most_values` values, and lists and objects deeper than `MOST_DEPTH`.
    """
    if not content.isascii() and 4 * len(content) > MOST_BYTES:
        # In memory all characters of a text are as wide as the widest.
        raise ValueError(f"more than {MOST_BYTES // 4:,} bytes with characters beyond ASCII")
    outside, texts = JSON_STRING.subn(b"", content, most_values + 1)
    opened_values, ends = (sum(map(outside.count, marks)) for marks in ((b",", b"[", b"{"), (b"]", b"}")))
    if max(texts, opened_values, ends) > most_values:
        raise ValueError(f"more than {most_values:,} values")
    steps = (1 if bracket in b"[{" else -1 for bracket in outside.translate(None, NO_BRACKETS))
    if max(accumulate(steps), default=0) > MOST_DEPTH:
        raise ValueError(f"nested more than {MOST_DEPTH} deep")
    value = json.loads(content.decode(), parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object)
    if b"\\u" in content:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object holds a key twice")
    return value

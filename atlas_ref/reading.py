"""Reading what comes from outside: regular files of a bounded size, in time and memory that grow with it and no faster.

What a file is, is asked of the open file and before it is opened, so that a pipe never waits and a device is never
touched, whatever is put in its place meanwhile. Texts are looked over for how many values they hold and how deep these
lie before a parser sees them: an empty list takes three bytes of JSON and twenty times as many of memory.
"""

import json
import math
import os
import re
import select
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from atlas_ref.errors import UserError

MOST_BYTES = 2**25
"""The largest JSON file that is read: what a checkpoint with the largest tokenizer says of itself has room in it."""
MOST_VALUES = 500_000
"""Most values in a JSON file, not counting what its texts hold."""
MOST_DEPTH = 64
"""Lists and objects in each other: no file of this program has a fourth of it."""

MOST_HEADER, MOST_AXES = 2**24, 16
"""Bytes of a safetensors header, of which one tensor takes a hundred, and axes of a tensor."""
MOST_TOML = 2**20
"""The largest TOML file that is read: a config with all its comments is a fiftieth of it."""
MOST_KEYS, MOST_PARTS, MOST_TOKEN = 10_000, 16, 1000
"""Keys, or values, of a TOML file, parts of a dotted key, and bytes of a number or bare key: a parser's time grows with
the square of the last two."""
PATIENCE = 10.0
"""Seconds that a pipe may keep silent."""

JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
TOML_TEXT = re.compile(
    rb'"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\\?\Z)'
    rb"|'''(?:[^']|'(?!''))*+(?:'''|\Z)"
    rb'|"(?:[^"\\\n]|\\[^\n])*+"?'
    rb"|'[^'\n]*+'?"
    rb"|#[^\n]*+",
    re.DOTALL,
)
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


def read_pipe(path: Path, most: int) -> bytes:
    """Return what comes through a pipe, as of a shell's `<(command)`; raise UserError when it is too much or stalls."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    content = b""
    with open(descriptor, "rb", buffering=0) as stream:
        while len(content) <= most:
            if not select.select([stream], [], [], PATIENCE)[0]:
                raise UserError(f"{path}: is a pipe through which nothing came for {PATIENCE:.0f} seconds.")
            part = stream.read(most + 1) or b""
            if not part:
                return content
            content += part
    raise UserError(f"{path}: has more than {most:,} bytes, too many for a file of its kind.")


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return the table that a TOML text describes; raise ValueError, with a short reason, for anything else.

    Refused too are more than `MOST_KEYS` keys or values, and keys, lists and tables deeper than `MOST_PARTS`.
    """
    outside, texts = TOML_TEXT.subn(b"", content, 5 * MOST_KEYS)
    marks = (outside.count(mark) for mark in (b"=", b",", b"[", b"]", b"{", b"}"))
    if max(texts, *marks) >= MOST_KEYS:
        raise ValueError(f"it has more than {MOST_KEYS:,} keys or values")
    if max(map(len, re.split(rb"[\s,=\[\]{}]", outside))) > MOST_TOKEN:
        raise ValueError(f"a key or number is longer than {MOST_TOKEN:,} characters")
    parts = max(part.count(b".") for part in re.split(rb"[\n,=\[\]{}]", outside))
    if max(parts, _depth(outside)) >= MOST_PARTS:
        raise ValueError(f"it is nested more than {MOST_PARTS} deep")
    return tomllib.loads(content.decode().removeprefix("\ufeff"))


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`; raise UserError, naming the file, when there is none (`parse_json`)."""
    content = read_bytes(path, MOST_BYTES)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UserError(f"{path}: is not JSON of this program ({error}).") from None


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Return the description of each tensor in a safetensors file; raise UserError, naming the file, without one.

    Looked at before the library reads the file, as it takes headers of a hundred megabytes, and memory for all of it.
    """
    with opened(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        content = stream.read(length) if length <= MOST_HEADER else b""
    try:
        if not content or len(content) < length:
            raise ValueError(f"its header has no 1 to {MOST_HEADER:,} bytes")
        header = parse_json(content)
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if not isinstance(entry, dict) or not _is_shape(entry.get("shape")):
                raise ValueError(f"tensor {name[:60]!r} has no shape")
    except ValueError as error:
        raise UserError(f"{path}: is not a safetensors file ({error}).") from None
    return header


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) <= MOST_AXES and all(type(n) is int and 0 <= n < 2**63 for n in shape)


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
    if _depth(outside) > MOST_DEPTH:
        raise ValueError(f"nested more than {MOST_DEPTH} deep")
    value = json.loads(content.decode(), parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object)
    if b"\\u" in content:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _depth(outside: bytes) -> int:
    """Return how deep brackets lie in each other."""
    steps = (1 if bracket in b"[{" else -1 for bracket in outside.translate(None, NO_BRACKETS))
    return max(accumulate(steps), default=0)


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

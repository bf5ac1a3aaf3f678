"""Files that are either the old version or the new one, never half of each, whatever interrupts the writer."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas_ref.errors import UserError

MOST_BYTES = 2**28
"""The largest JSON file that is read: a tokenizer of a million merges is a tenth of it."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of `path` into an OSError without one: a failed write or sync does not say which file it was."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Make what was written to a file, or the entries of a directory, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace the text of `path` in one step: write a temporary sibling, sync it, rename it over the old file."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with naming(temporary):
            temporary.write_text(text, encoding="utf-8")
        sync(temporary)
        os.replace(temporary, path)
    except OSError:
        # Half a file would only take the space that may be missing.
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON; NaN and infinity are not JSON and are refused."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`; raise UserError, naming the file, when there is none.

    Refused too are what JSON does not say clearly (NaN, infinities, numbers that overflow, a key twice in an object),
    nesting too deep to read, and anything that is not a regular file, which could be endless.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist.")
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: is not a regular file of at most {MOST_BYTES:,} bytes.")
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object
        )
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}).") from None
    except RecursionError:
        raise UserError(f"{path}: is not JSON of this program (nested too deeply).") from None


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

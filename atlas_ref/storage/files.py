"""Files that are either the old version or the new one, never half of each, whatever interrupts the writer."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas_ref.errors import UserError
from atlas_ref.reading import read_json


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


def write_atomically(path: Path, text: str, read: Callable[[Path], object] | None = None) -> None:
    """Replace the text of `path` in one step: write a temporary sibling, sync it, rename it over the old file.

    What `read` refuses in the temporary file with a UserError is not renamed, so that nothing replaces a file that
    could not be read where it is needed.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with naming(temporary):
            temporary.write_text(text, encoding="utf-8")
        sync(temporary)
        if read is not None:
            read(temporary)
        os.replace(temporary, path)
    except (OSError, UserError):
        # Half a file would only take the space that may be missing.
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, which is read back first; NaN and infinity are not JSON."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n", read_json)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Files that are either the old version or the new one, never half of each, whatever interrupts the writer."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from atlas_ref.errors import UserError


def sync(path: Path) -> None:
    """Make what was written to a file, or the entries of a directory, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace the text of `path` in one step: write a temporary sibling, sync it, rename it over the old file."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON; NaN and infinity are not JSON and are refused."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_record(path: Path) -> dict[str, Any]:
    """Return the size and checksum by which a file is known again."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`; raise UserError, naming the file, when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: is not JSON ({error}).") from error

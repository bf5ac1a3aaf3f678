"""Whether a place can be written to, asked before a run of minutes rather than after it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from atlas_ref.errors import UserError
from spec_tests.report.write import FILES


def check_directory(option: str, path: Path) -> None:
    """Make the directory that a report goes to; UserError where there can be none, or where others' files would go."""
    before = next((place for place in (path, *path.parents) if place.exists()), Path())
    if not before.is_dir():
        what = "is a file" if before == path else f"{before} is a file"
        raise UserError(f"{option} {path}: {what}; expected a directory.")
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: this directory cannot be written to.")
    for name in _strange(path):
        raise UserError(f"{option} {path}: holds a {name} that no report of this suite is part of; name another place.")


def _strange(path: Path) -> Iterator[str]:
    """Yield the files that a report would replace, unless they are those of an earlier one."""
    there = [name for name in FILES if (path / name).exists()]
    try:
        ours = not there or "manifest_sha256" in json.loads((path / FILES[0]).read_bytes())
    except (OSError, ValueError, TypeError):
        ours = False
    yield from () if ours else there


def check_file(option: str, path: Path) -> None:
    """Raise UserError where no file can be written to a path; what is there stays as it is."""
    if path.is_dir():
        raise UserError(f"{option} {path}: is a directory; expected a file.")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no directory {path.parent}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{option} {path}: cannot be written to.")

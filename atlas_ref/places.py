"""Where a user's cache is, and whether a place can be written to and is free, asked before the work that goes there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from atlas_ref.errors import UserError


def user_cache() -> Path:
    """Return the directory of what is made once for a user: atlas-spec in XDG_CACHE_HOME, or else in ~/.cache."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification: a relative path is to be ignored.
    root = named if named.is_absolute() else Path.home() / ".cache"
    return root / "atlas-spec"


def nearest_place(path: Path) -> Path:
    """Return `path` where there is anything, or else the nearest of its parents where there is."""
    return next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))


def prove_writable(path: Path, option: str) -> None:
    """Raise UserError unless files can be made in the directory `path`, or where it will be made; nothing stays there.

    Asking for permissions is not enough: root has them on a file system that is mounted read-only, and in /proc.
    """
    place = nearest_place(path)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror}); give another {option}.") from error


def check_unused(target: Path, what: str) -> None:
    """Raise UserError unless the directory of `what` may be made at `target`: nothing is there, or an empty one."""
    place = nearest_place(target)
    if not place.is_dir():
        raise UserError(f"{place}: is no directory; the directory of {what} must be new or empty.")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is not empty; the directory of {what} must be new or empty.")
    prove_writable(target, "place")


def check_file(target: Path, option: str, is_ours: Callable[[Path], bool]) -> None:
    """Raise UserError unless a file can be written at `target`: a new one, or in the place of one that `is_ours`.

    An empty file is nobody's.
    """
    place = nearest_place(target)
    if place == target and not target.is_file():
        raise UserError(f"{option} {target}: is no regular file.")
    if place != target and not place.is_dir():
        raise UserError(f"{option} {target}: {place} is no directory.")
    if place == target and target.stat().st_size > 0 and not is_ours(target):
        raise UserError(f"{option} {target}: holds what this command did not write; name another file.")
    prove_writable(target.parent, option)

"""Which files of a folder are data, and what is left out, each with the reason: nothing is skipped in silence."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from atlas_ref.data.formats import KINDS, PACKED, ending, kind_of
from atlas_ref.errors import UserError
from atlas_ref.wording import visible

MOST_ENTRIES = 1_000_000
"""Most files and folders that are looked at below a folder; a root directory has more."""
ENDINGS = f"{', '.join(KINDS)}, or one of them and {PACKED}"


class LeftOut(NamedTuple):
    """A file or folder that is not read: its name below the root, and why."""

    name: str
    reason: str


def files_below(root: Path, kind: Callable[[str], str | None] = kind_of) -> tuple[list[Path], list[LeftOut]]:
    """The files to read, those of inner folders too, in the order of their names, and what is left out.

    Hidden files and folders (`.ipynb_checkpoints`, `._a.txt`), links to folders, what is no file, and files whose name
    is of no `kind` are left out. Raises UserError where nothing is left, OSError where a folder cannot be listed.
    """
    files, left_out = [], []
    for seen, (path, reason) in enumerate(_entries(root, kind)):
        if seen == MOST_ENTRIES:
            raise UserError(f"{root}: holds more than {MOST_ENTRIES:,} files and folders; give the folder of the data.")
        if reason is None:
            files.append(path)
        else:
            left_out.append(LeftOut(visible(path.relative_to(root).as_posix()), reason))
    if not files:
        what = f"; of what is there, {left_out[0].name} is left out ({left_out[0].reason})" if left_out else ""
        raise UserError(f"{root}: holds no file that ends in {ENDINGS}{what}.")
    return sorted(files), sorted(left_out)


def _entries(root: Path, kind: Callable[[str], str | None]) -> Iterator[tuple[Path, str | None]]:
    """Yield each file below a folder, and each folder that is left out, with the reason for which it is."""
    folders = [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    folders.append(entry.path)
                else:
                    yield Path(entry.path), _reason(entry, kind)


def _reason(entry: os.DirEntry[str], kind: Callable[[str], str | None]) -> str | None:
    """Why an entry is left out; None for a file to read."""
    if entry.name.startswith("."):
        return "hidden"
    # Not asked of the entry, which raises an error for a link that leads to itself.
    if os.path.isdir(entry.path):
        return "a link to a folder"
    if not os.path.isfile(entry.path):
        return "no plain file"
    if kind(entry.name) is None:
        return f"ends in {visible(ending(entry.name))}" if ending(entry.name) else "has no ending"
    return None

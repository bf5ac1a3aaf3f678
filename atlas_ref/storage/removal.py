"""Removing what training wrote below `checkpoints`, and nothing else.

    .removed-step-N    a checkpoint that has to go (`retention`), or what is left of it
    .partial-step-N    a checkpoint that was being written when a process died (or `-2`, where the name was taken)

A name alone proves nothing: a person may have put files into a directory, or may have moved one away and left a link.
So a directory goes only when it is one, and everything in it has a name that training gives. Its files are unlinked one
by one and then the directory, which fails, as it should, when anything else has come in the meantime. What does not go
is said, once, and is no reason to stop training: a disk may fail to remove, or NFS keep a file that somebody reads,
while all that matters still works.
"""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from atlas_ref.errors import UserError
from atlas_ref.storage.files import sync

REMOVED, PARTIAL = ".removed-", ".partial-"
LEFTOVER = re.compile(r"\.(removed|partial)-step-[0-9]{8,}(-[0-9]+)?")
FILE = re.compile(
    r"(model|optimiser|state)(\.|/shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.)safetensors"
    # What safetensors, and `files`, call a file until it is complete.
    r"|\.tmp[A-Za-z0-9]{6}|meta\.json|\.meta\.json\.partial"
)
FOLDERS = {"model", "optimiser", "state"}


class ForeignError(UserError):
    """What training did not make, and will not remove."""


class Removal:
    """Removes leftovers below a `checkpoints` directory, and says of each thing that stays so, once, to `say`."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory, self._say = directory, say
        self._told: set[Path] = set()

    def attempt(self, action: Callable[[Path], object], path: Path, outcome: str = "stays where it is") -> bool:
        """Return whether an action on a path was done; what it raises is said once a path, as why it has `outcome`."""
        try:
            action(path)
        except (OSError, UserError) as error:
            if path not in self._told:
                self._told.add(path)
                why = error.strerror if isinstance(error, OSError) else error
                self._say(f"{path} {outcome}: {why}")
            return False
        return True

    def sweep(self) -> None:
        """Remove every leftover that is one; before the first save there is no directory and nothing to say."""
        if not os.path.lexists(self._directory):
            return
        found = [path for path in sorted(self._directory.iterdir()) if path.name.startswith((REMOVED, PARTIAL))]
        # Half a directory must never have the name of a checkpoint again, whatever a power loss takes back.
        renamed = any(path.name.startswith(REMOVED) for path in found)
        if renamed and not self.attempt(sync, self._directory):
            return
        for path in found:
            self.attempt(remove, path)


def make_partial(directory: Path, step_name: str) -> Path:
    """Make the directory in which a checkpoint is written, without what is left of an earlier try, and return it."""
    path = directory / f"{PARTIAL}{step_name}"
    discard(path)
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    free = next(place for place in chain((path,), numbered) if not os.path.lexists(place))
    free.mkdir(parents=True)
    return free


def discard(path: Path) -> None:
    """Remove a leftover if it is one and can be removed; nothing depends on it."""
    with suppress(OSError, UserError):
        remove(path)


def remove(path: Path) -> None:
    """Remove a leftover; raise ForeignError, having removed nothing, for anything that training did not make."""
    if not LEFTOVER.fullmatch(path.name):
        raise ForeignError("training makes no such name.")
    files, folders = contents(path)
    refuse_foreign(name for name in (*files, *folders) if not FILE.fullmatch(name) and name not in FOLDERS)
    for name in files:
        (path / name).unlink()
    for name in folders:
        (path / name).rmdir()
    path.rmdir()


def refuse_foreign(names: Iterable[str]) -> None:
    """Raise ForeignError for the first of the names that training did not write, if there is one."""
    for name in names:
        raise ForeignError(f"it holds {name}, which training did not write.")


def contents(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of the regular files in a directory, and of the directories, innermost first.

    Raises ForeignError for what is no directory, and at anything in it that is neither; links are neither.
    """
    if path.is_symlink() or not path.is_dir():
        raise ForeignError("it is no directory, but a link." if path.is_symlink() else "it is no directory.")
    files: list[str] = []
    folders: list[str] = []
    for folder, inside, names in os.walk(path, topdown=False, onerror=_raise):
        place = Path(folder)
        for entry in (place / name for name in (*inside, *names)):
            name = entry.relative_to(path).as_posix()
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                raise ForeignError(f"it holds {name}, which is no regular file.")
            (folders if entry.is_dir() else files).append(name)
    return files, folders


def _raise(error: OSError) -> None:
    raise error

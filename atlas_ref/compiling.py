"""Compiling C++ once for all processes of a user: which compiler makes it, and how the result is named.

A name holds a hash of the sources and of how they are compiled, so a stale result is never used; it is made under a
temporary name, so a half-written one is not either.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from atlas_ref.errors import UserError

COMPILERS: Final = ("g++", "clang++")
SHOWN: Final = 10
"""Most lines of a compiler's complaints that a message repeats."""


class NoCompilerError(UserError):
    """There is no C++ compiler here."""


def compiler(what: str) -> list[str]:
    """Return the command of the C++ compiler: CXX, else g++, else clang++; NoCompilerError where there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]) is not None:
            return command
    tried = named[0] if named else " and ".join(COMPILERS)
    raise NoCompilerError(f"{what} needs a C++17 compiler; {tried} not found (CXX names another).")


def version(command: Sequence[str]) -> bytes:
    """Return what a compiler says of itself."""
    return subprocess.run([command[0], "--version"], capture_output=True, check=False).stdout


def digest(said: bytes, sources: Iterable[Path] = ()) -> str:
    """Return a short hash of some bytes and of the names and contents of sources."""
    found = hashlib.sha256(said)
    for source in sorted(sources):
        found.update(f"{source.name} {source.stat().st_size} ".encode() + source.read_bytes())
    return found.hexdigest()[:16]


def compile_once(what: str, command: Sequence[str], source: Path, target: Path) -> None:
    """Make `target` from `source` unless it is there; UserError with the compiler's words where that fails.

    One process at a time: those that start together wait for the first one's result.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent):
        if not target.exists():
            _compile(what, command, source, target)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(what: str, command: Sequence[str], source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        unfinished = Path(scratch) / target.name
        wanted = [*command, "-o", str(unfinished), str(source)]
        done = subprocess.run(wanted, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            complaints = "\n".join(done.stderr.splitlines()[:SHOWN])
            raise UserError(f"{what} does not compile ({shlex.join(wanted)}):\n{complaints}")
        unfinished.replace(target)

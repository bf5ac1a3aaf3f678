"""The port in C++: built once where a compiler is there, then asked as a program like any other.

    pytest spec_tests --port spec_tests.ports.cpp:CompiledPort

The program's name holds a hash of the sources and of how they are compiled, so a stale one is never run; it is built
under a temporary name, so a half-written one is not either.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.process.client import ProcessPort

SOURCES: Final = Path(__file__).parent
FLAGS: Final = ("-std=c++17", "-O1")
"""Cases are small: with -O2 the compiler takes longer than all of them."""
COMPILERS: Final = ("g++", "clang++")
SHOWN: Final = 10
"""Most lines of a compiler's complaints that a message repeats."""


class NoCompilerError(UserError):
    """There is no C++ compiler here."""


def compiler() -> list[str]:
    """Return the command of the C++ compiler: CXX, else g++, else clang++; NoCompilerError where there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]) is not None:
            return command
    tried = named[0] if named else " and ".join(COMPILERS)
    raise NoCompilerError(f"the compiled port needs a C++17 compiler; {tried} not found (CXX names another).")


def build(directory: Path) -> Path:
    """Return the program, compiled into `directory` unless it is there; UserError where it does not compile."""
    command = [*compiler(), *FLAGS]
    program = directory / f"port-{_digest(command)}"
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        if not program.exists():
            _compile(command, program)
    return program


def cache() -> Path:
    """Return the directory in which programs stay from one run to the next: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas-spec"


class CompiledPort(ProcessPort):
    """The program of this folder, behind the process protocol."""

    def __init__(self) -> None:
        super().__init__(shlex.quote(str(build(cache()))))


def _digest(command: list[str]) -> str:
    version = subprocess.run([command[0], "--version"], capture_output=True, check=False).stdout
    digest = hashlib.sha256(shlex.join(command).encode() + version)
    for source in sorted(SOURCES.glob("*.?pp")):
        digest.update(f"{source.name} {source.stat().st_size} ".encode() + source.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process in at a time: workers that start together wait for the first one's program."""
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(command: list[str], program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        unfinished = Path(scratch) / program.name
        wanted = [*command, "-o", str(unfinished), str(SOURCES / "main.cpp")]
        done = subprocess.run(wanted, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            complaints = "\n".join(done.stderr.splitlines()[:SHOWN])
            raise UserError(f"the compiled port does not compile ({shlex.join(wanted)}):\n{complaints}")
        unfinished.replace(program)

"""The port in C++: built once where a compiler is there, then asked as a program like any other.

pytest spec_tests --port spec_tests.ports.cpp:CompiledPort
"""

import shlex
from pathlib import Path
from typing import Final

from atlas_ref.compiling import compile_once, compiler, digest, version
from atlas_ref.places import user_cache
from spec_tests.process.client import ProcessPort

SOURCES: Final = Path(__file__).parent
FLAGS: Final = ("-std=c++17", "-O1")
"""Cases are small: with -O2 the compiler takes longer than all of them."""
WHAT: Final = "the compiled port"


def build(directory: Path) -> Path:
    """Return the program, compiled into `directory` unless it is there; UserError where it does not compile."""
    command = [*compiler(WHAT), *FLAGS]
    said = shlex.join(command).encode() + version(command)
    program = directory / f"port-{digest(said, SOURCES.glob('*.?pp'))}"
    compile_once(WHAT, command, SOURCES / "main.cpp", program)
    return program


class CompiledPort(ProcessPort):
    """The program of this folder, behind the process protocol."""

    def __init__(self) -> None:
        super().__init__(shlex.quote(str(build(user_cache()))))

"""The port in JavaScript: a program for Node, without packages, asked like any other.

pytest spec_tests --port spec_tests.ports.javascript:NodePort
"""

import shlex
import shutil
from pathlib import Path
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.process.client import ProcessPort

PROGRAM: Final = Path(__file__).with_name("main.js")


class NoNodeError(UserError):
    """There is no Node here."""


def node() -> str:
    """Return the path of Node; NoNodeError where there is none."""
    found = shutil.which("node")
    if found is None:
        raise NoNodeError("the port in JavaScript needs Node 18 or newer; node was not found.")
    return found


class NodePort(ProcessPort):
    """The program of this folder, behind the process protocol."""

    def __init__(self) -> None:
        super().__init__(shlex.join([node(), str(PROGRAM)]))

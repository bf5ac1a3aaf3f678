"""What a mutation of a checkpoint is, and files of other programs that lie in the place of its own."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MARKER = "code-was-run"


DEEP = "[" * 50_000


class Mutation(NamedTuple):
    """A change of a checkpoint: its name, the file that is to blame, and the change itself."""

    name: str
    file: str
    apply: Callable[[Path], object]


class Payload:
    """An object whose pickle creates a file in the working directory when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (open, (MARKER, "w"))


def foreign() -> dict[str, bytes]:
    """Return files of other formats."""
    return {
        "a pickle": pickle.dumps(Payload()),
        "an old pickle": pickle.dumps(Payload(), protocol=0),
        "a zip as torch.save writes": b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + pickle.dumps(Payload()),
        "numpy": b"\x93NUMPY\x01\x00" + bytes(120),
        "gzip": b"\x1f\x8b\x08" + bytes(50),
        "text": "what is this, naïvely?\n".encode(),
        "UTF-16": "{}".encode("utf-16"),
        "an executable": b"\x7fELF" + bytes(200),
    }

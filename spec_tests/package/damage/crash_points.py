"""The places where a run can be killed while it writes: each is announced, so that a test can stop or copy there.

A visitor is told the name of a place just before, in the middle of, or just after the write, rename, sync or removal
that the name says. A process that is killed there leaves exactly the files that are there at that moment.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from atlas_ref.storage.metrics_log import MetricsLog
from atlas_ref.training.step import train_step

Visit = Callable[[str], None]


@contextmanager
def announced(visit: Visit) -> Iterator[None]:
    """Announce every place while entered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlas_ref.storage.checkpoint.save_file", _in_halves(save_file, visit))
        patch.setattr(Path, "write_text", _text_in_halves(Path.write_text, visit))
        patch.setattr(MetricsLog, "__init__", _log_in_halves(MetricsLog.__init__, visit))
        patch.setattr(os, "replace", _around(os.replace, "rename", visit))
        patch.setattr(os, "fsync", _around(os.fsync, "sync", visit))
        patch.setattr(Path, "unlink", _around(Path.unlink, "unlink", visit))
        patch.setattr(Path, "rmdir", _around(Path.rmdir, "removal", visit))
        patch.setattr("atlas_ref.training.loop.train_step", _around(train_step, "step", visit))
        yield


def _around(function: Callable[..., Any], what: str, visit: Visit) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        name = arguments[0].name if isinstance(arguments[0], Path) else ""
        visit(f"before {what} {name}".strip())
        result = function(*arguments, **options)
        visit(f"after {what} {name}".strip())
        return result

    return call


def _in_halves(function: Callable[..., Any], visit: Visit) -> Callable[..., Any]:
    """Write a file of tensors, announcing when half of its bytes are there."""

    def save(tensors: Any, file: Path) -> None:
        visit(f"before write {file.name}")
        function(tensors, file)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        visit(f"half of write {file.name}")
        file.write_bytes(content)
        visit(f"after write {file.name}")

    return save


def _text_in_halves(function: Callable[..., Any], visit: Visit) -> Callable[..., Any]:
    def write(self: Path, text: str, **options: Any) -> int:
        function(self, text[: len(text) // 2], **options)
        visit(f"half of write {self.name}")
        return int(function(self, text, **options))

    return write


def _log_in_halves(function: Callable[..., Any], visit: Visit) -> Callable[..., Any]:
    def init(self: MetricsLog, path: Path) -> None:
        function(self, path)
        patched: Any = self
        patched._stream = _HalfStream(patched._stream, visit)

    return init


class _HalfStream:
    """A binary stream whose writes come in two parts."""

    def __init__(self, stream: Any, visit: Visit) -> None:
        self._stream, self._visit = stream, visit

    def write(self, line: bytes) -> int:
        self._visit("before line of the log")
        self._stream.write(line[: len(line) // 2])
        self._visit("half of line of the log")
        self._stream.write(line[len(line) // 2 :])
        self._visit("after line of the log")
        return len(line)

    def close(self) -> None:
        self._stream.close()

"""Calls of the operating system that fail: one of them, at one occurrence, below one directory.

A run is made once with every call counted, and then again for each call and error that is to be tried. A fault says
what a file system can say at any time: no space, an I/O error, a read-only place, an interruption, no permission.
"""

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pytest
from safetensors import SafetensorError
from safetensors.torch import save_file

from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import META, TENSOR_FILES, open_checkpoint, saved_steps
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from spec_tests.package.micro.runs import (
    SKIPPED,
    Silence,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    without_timing,
)

Call = Literal["open", "write", "short write", "fsync", "rename", "unlink", "mkdir", "rmdir", "chmod"]
CALLS: tuple[Call, ...] = get_args(Call)
PATCHED: dict[str, Call] = {
    "replace": "rename",
    "rename": "rename",
    "unlink": "unlink",
    "remove": "unlink",
    "mkdir": "mkdir",
    "rmdir": "rmdir",
    "chmod": "chmod",
}
"""The functions of `os` that take a path, and what each is."""
ERRORS = ("ENOSPC", "EIO", "EROFS", "EINTR", "EACCES")
CONFIG = micro_config(
    "model.n_layers=1",
    "data.sequence_length=16",
    "optim.warmup_steps=1",
    "train.max_steps=3",
    "train.log_interval=1",
    "train.eval_interval=2",
    "train.eval_batches=1",
    "train.save_interval=1",
    "train.keep_last=1",
)
"""A run that saves at every step, validates, and removes two checkpoints."""


class Fault(NamedTuple):
    """The call that fails, which of its occurrences, counted from 1, and how."""

    call: Call
    occurrence: int
    error: str

    def raised(self, path: object) -> OSError:
        """Return what the call raises."""
        number = getattr(errno, self.error)
        return OSError(number, os.strerror(number), str(path))


class Watch:
    """Counts the calls below a directory, and lets one of them fail."""

    def __init__(self, below: Path, fault: Fault | None = None) -> None:
        self.below, self.fault = below, fault
        self.seen: dict[Call, list[str]] = {call: [] for call in CALLS}

    def passes(self, call: Call, path: object) -> OSError | None:
        """Count a call; return the error that it fails with, if it is the one."""
        if not isinstance(path, str | os.PathLike) or self.below not in Path(path).parents:
            return None
        self.seen[call].append(Path(path).name)
        fault = self.fault
        hit = fault is not None and (call, len(self.seen[call])) == fault[:2]
        return fault.raised(path) if fault is not None and hit else None

    def around(self, function: Callable[..., Any], call: Call) -> Callable[..., Any]:
        """Return a function of a path that may fail."""

        def guarded(path: Any, *arguments: Any, **options: Any) -> Any:
            if error := self.passes(call, path):
                raise error
            return function(path, *arguments, **options)

        return guarded

    def fsync(self, function: Callable[[int], None]) -> Callable[[int], None]:
        """Return `os.fsync`, which knows its file by a descriptor, and says no name."""

        def guarded(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            if error := self.passes("fsync", os.readlink(f"/proc/self/fd/{number}")):
                error.filename = None
                raise error
            function(descriptor)

        return guarded

    def opened(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `open`, whose streams may fail too where they are written to."""

        def guarded(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if error := self.passes("open", path):
                raise error
            stream = function(path, mode, *arguments, **options)
            return stream if mode in ("r", "rb") else Stream(stream, path, self)

        return guarded

    def save_file(self, tensors: Any, file: Path, *arguments: Any, **options: Any) -> None:
        """Write tensors; the library says an error of the system in words of its own."""
        calls: tuple[Call, ...] = ("write", "short write")
        for call in calls:
            if error := self.passes(call, file):
                if call == "short write":
                    save_file(tensors, file, *arguments, **options)
                    file.write_bytes(file.read_bytes()[:-100])
                raise SafetensorError(f"Error while serializing: I/O error: {error.strerror} (os error {error.errno})")
        save_file(tensors, file, *arguments, **options)


class Stream:
    """A stream that is written to: a write fails before its first byte, or in the middle."""

    def __init__(self, stream: Any, path: Any, watch: Watch) -> None:
        self._stream, self._path, self._watch = stream, path, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.close()

    def write(self, content: Any) -> int:
        """Write all of it, nothing, or half."""
        if error := self._watch.passes("write", self._path):
            raise self._nameless(error)
        if error := self._watch.passes("short write", self._path):
            self._stream.write(content[: len(content) // 2])
            raise self._nameless(error)
        return int(self._stream.write(content))

    @staticmethod
    def _nameless(error: OSError) -> OSError:
        error.filename = None
        return error


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let every call pass through `watch` while entered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", watch.opened(io.open))
        patch.setattr("builtins.open", io.open)
        patch.setattr(os, "open", watch.around(os.open, "open"))
        patch.setattr(os, "fsync", watch.fsync(os.fsync))
        for name, call in PATCHED.items():
            patch.setattr(os, name, watch.around(getattr(os, name), call))
        patch.setattr("atlas_ref.storage.checkpoint.save_file", watch.save_file)
        yield


def occurrences(folder: Path) -> dict[Call, list[str]]:
    """Return the names of the files of each call of a run without a fault, which stays in `folder`/whole."""
    watch = Watch(folder / "whole")
    with watched(watch):
        start(CONFIG, folder / "whole")
    return watch.seen


class Reported(Silence):
    """A reporter that keeps which checkpoints were said to be saved."""

    def __init__(self) -> None:
        self.saved: list[Path] = []

    def say(self, text: str) -> None:
        word, _, path = text.partition(" ")
        if word == "saved":
            self.saved.append(Path(path))


def dispensable(call: Call, name: str) -> bool:
    """Return whether a run can do without a call on a file of that name: what only removes an old checkpoint."""
    return call == "rmdir" or (call == "unlink" and name in (*TENSOR_FILES, META))


class Verdict(NamedTuple):
    """How a run with a fault ended, and what it got wrong."""

    ended: Literal["went on", "one sentence"]
    wrong: str | None


def tried(fault: Fault, whole: Path, path: Path) -> Verdict:
    """Train in `path` with a fault, then go on without it; say what was lost, or what is another than in `whole`."""
    said, ended = Reported(), None
    with watched(Watch(path, fault)):
        try:
            start(CONFIG, path, reporter=said)
        except (UserError, OSError) as error:
            ended = error
    if isinstance(ended, OSError) and ended.filename is None:
        return Verdict("one sentence", f"names no file: {ended}")
    wrong = lost(said, path) or another(whole, path)
    shutil.rmtree(path, ignore_errors=True)
    return Verdict("went on" if ended is None else "one sentence", wrong)


def lost(said: Reported, path: Path) -> str | None:
    """Return what is not there of the newest checkpoint that was said to be saved, or damaged in any."""
    steps = saved_steps(path / "checkpoints")
    for place in steps.values():
        try:
            open_checkpoint(place).verify()
        except UserError as error:
            return str(error)
    newest = max((int(place.name.partition("-")[2]) for place in said.saved), default=0)
    return None if max(steps, default=0) >= newest else f"step {newest} was saved and is lost"


def another(whole: Path, path: Path) -> str | None:
    """Return how the run differs from one without a fault once it has gone on."""
    directory = RunDirectory(path)
    try:
        ready = get_ready(CONFIG, directory, directory.newest_checkpoint(), over_unsaved=True)
        train(ready, Admission(None, SKIPPED), Silence(), lambda: False)
    except (UserError, OSError) as error:
        return f"does not go on: {error}"
    if saved_bytes(path) != saved_bytes(whole):
        return "other tensors"
    same = without_timing(metric_lines(path)) == without_timing(metric_lines(whole))
    return None if same else "another log"

"""metrics.jsonl: one JSON object a line, `step` first, then flat keys such as `train/loss`.

All values are functions of config and step except the keys in TIMING. A value that is not finite is written as null.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from atlas_ref.errors import UserError
from atlas_ref.reading import opened
from atlas_ref.storage.files import naming, sync, write_atomically
from atlas_ref.wording import counted

SPEED, SECONDS, MEMORY, MFU = "train/tokens_per_second", "train/step_seconds", "train/memory_bytes", "train/mfu"
HOURS, RESERVED, MINUTES = "train/hours", "train/memory_reserved_bytes", "epoch/minutes"
SOMETIMES = (RESERVED, MINUTES)
"""What stands on a GPU alone, and at the end of an epoch."""
TIMING = (SPEED, SECONDS, MEMORY, MFU, HOURS, *SOMETIMES)
"""The only keys that two equal runs may differ in."""
MOST_LINE = 2**20
"""Bytes that a line may have: some ten thousand metrics."""


class MetricsLog:
    """An append-only log of `lines` lines, complete up to the last of them whenever the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Unbuffered: after a write that failed, nothing is left that closing the log would try to write again.
        self._stream = path.open("ab", buffering=0)
        with path.open("rb") as stream:
            self.lines = sum(1 for _ in stream)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the line of a step; at most one line a step is written."""
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        line = (json.dumps({"step": step, **finite}, allow_nan=False) + "\n").encode()
        with naming(self._path):
            while line:
                line = line[self._stream.write(line) :]
        self.lines += 1

    def sync(self) -> None:
        """Make the lines so far survive a power failure."""
        sync(self._path)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


class Kept(NamedTuple):
    """The lines of a log that a run goes on with, and sentences on what else was there or is missing."""

    records: list[dict[str, Any]]
    notes: list[str]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, none where there is no file and without a last one that a crash cut short.

    Raises UserError, naming the line, at any that is no object of numbers with a step after that of the line before.
    """
    return list(_records(path))


def read_kept(path: Path, step: int, lines: int) -> Kept:
    """Return the lines of a log up to the checkpoint of `step`, which was written when there were `lines` of them.

    What lies behind is about to be made again. It was never synced, so that a power loss may have torn it, and damage
    there is no reason to stop. Raises UserError at a damaged line before it.
    """
    found = _records(path)
    try:
        records = [record for record in islice(found, lines) if record["step"] <= step]
    except UserError as error:
        raise UserError(f"{error} It is from before step {step}: mend it, or move it away to go on without.") from None
    notes = []
    if len(records) < lines:
        notes.append(
            f"{path} holds {len(records):,} of its {counted(lines, 'line')} up to step {step}: the log goes on without "
            "the others, and their validations are not known"
        )
    try:
        if behind := sum(1 for _ in found):
            left = f"{counted(behind, 'line')} of {path} {'is' if behind == 1 else 'are'} left out"
            notes.append(f"{left}: what follows step {step} is made again")
    except UserError as error:
        notes.append(f"{error} It is left out: what follows step {step} is made again")
    return Kept(records, notes)


def last_step(path: Path) -> int:
    """Return the last step in a log up to its first damaged line, 0 where there is none."""
    last = 0
    with suppress(UserError):
        for record in _records(path):
            last = record["step"]
    return last


def rewrite_metrics(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a log by these lines, in one step."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log; raise UserError at a bad one."""
    if not path.exists():
        return
    last = -1
    with opened(path) as stream:
        for number in count(1):
            line = stream.readline(MOST_LINE)
            # What follows the last line break is nothing, or a line that was being written.
            if not line.endswith(b"\n") and len(line) < MOST_LINE:
                return
            record = _record(line)
            if record is None or record["step"] <= last:
                wanted = "must be a JSON object of numbers, with a step after that of the line before"
                raise UserError(f"{path}, line {number}: {wanted}.")
            last = record["step"]
            yield record


def _record(line: bytes) -> dict[str, Any] | None:
    """Return what a line of a log says, None when it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    return record if all(isinstance(value, int | float | None) for value in record.values()) else None

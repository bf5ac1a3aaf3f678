"""metrics.jsonl: one JSON object a line, `step` first, then flat keys such as `train/loss`.

All values are functions of config and step except the keys in TIMING. A value that is not finite is written as null.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from atlas_ref.errors import UserError
from atlas_ref.training.files import naming, sync, write_atomically

TIMING = ("train/tokens_per_second",)
"""The only keys that two equal runs may differ in."""


class MetricsLog:
    """An append-only log that is complete up to its last line whenever the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Unbuffered: after a write that failed, nothing is left that closing the log would try to write again.
        self._stream = path.open("ab", buffering=0)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the line of a step; at most one line a step is written."""
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        line = (json.dumps({"step": step, **finite}, allow_nan=False) + "\n").encode()
        with naming(self._path):
            while line:
                line = line[self._stream.write(line) :]

    def sync(self) -> None:
        """Make the lines so far survive a power failure."""
        sync(self._path)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, without a last line that a crash cut short; raise UserError at any other bad line."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        # What follows the last line break is empty, or a line that was being written.
        if number == len(lines):
            break
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{path}, line {number}: is not JSON.") from None
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise UserError(f"{path}, line {number}: must be an object with the number of its step.")
        records.append(record)
    return records


def rewrite_metrics(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a log by these lines, in one step."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))

"""metrics.jsonl followed as it grows: each call reads what came since the last, and no more than a bounded part of it.

A log that was replaced, as a resumed run replaces it, is noticed by its last bytes and read anew; a line that is being
written is left for the next call; a damaged one is counted and left out.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from atlas_ref.reading import opened
from atlas_ref.storage.metrics_log import MOST_LINE
from cli.dashboard.columns import Column, Column64

BLOCK = MOST_LINE
"""Bytes that are read at once; a line that has more is none of a log."""
MOST_BLOCKS = 16
"""Blocks of a log that are read in one call: some thousands of lines."""
REMEMBERED = 64
"""Bytes before the place reached by which a log is known again."""
OF_LAYER = re.compile(r"(memory/)layer_\d+/(.+)")

Record = dict[str, Any]


class FollowedLog:
    """The columns of a log as far as it was read.

    `generation` is another number whenever it is begun: what somebody knows of an earlier one is worth nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.generation = time.time_ns() // 10**6
        self._begin()

    def _begin(self) -> None:
        self.generation += 1
        self.columns: dict[str, Column] = {}
        self.damaged = 0
        self.step = 0
        self._offset, self._before = 0, b""

    def read(self, blocks: int = MOST_BLOCKS) -> bool:
        """Take in the next lines, and return whether more are waiting; raise UserError for what is no file."""
        if not self._path.exists():
            if self._offset:
                self._begin()
            return False
        with opened(self._path) as stream:
            if not self._goes_on(stream):
                self._begin()
            stream.seek(self._offset)
            for _ in range(blocks):
                if not self._read_block(stream):
                    return False
            return self._offset < os.fstat(stream.fileno()).st_size

    def _read_block(self, stream: BinaryIO) -> bool:
        """Take in the lines of a block, and return whether there were any."""
        content = stream.read(BLOCK)
        whole = content[: content.rfind(b"\n") + 1]
        if not whole and len(content) == BLOCK:
            # No line of a log is so long: whatever it is ends somewhere further on.
            whole = content
        stream.seek(len(whole) - len(content), os.SEEK_CUR)
        self._offset += len(whole)
        self._before = (self._before + whole)[-REMEMBERED:]
        self._take(whole)
        return bool(whole)

    def _goes_on(self, stream: BinaryIO) -> bool:
        """Return whether what was read so far still stands before the place reached."""
        stream.seek(self._offset - len(self._before))
        return stream.read(len(self._before)) == self._before

    def _take(self, lines: bytes) -> None:
        """Put lines into the columns."""
        records = list(filter(None, map(self._parsed, lines.split(b"\n")[:-1])))
        # Where one of them holds what is no number each is taken for itself, so that it costs no other.
        if not self._put_all(records):
            bad = sum(not self._put_all([record]) for record in records)
            self.damaged += bad

    def _parsed(self, line: bytes) -> Record | None:
        """Return what a line says, None when it is no object."""
        try:
            record = from_json(line, allow_inf_nan=False, cache_strings="all")
        except ValueError:
            record = None
        if not isinstance(record, dict):
            self.damaged += 1
            return None
        return record

    def _in_order(self, records: list[Record]) -> list[Record]:
        """Return the lines with a step after that of the line before."""
        kept = []
        for record in records:
            step = record.get("step")
            if type(step) is int and self.step < step < 2**63:
                self.step = step
                kept.append(record)
            else:
                self.damaged += 1
        return kept

    def _put_all(self, records: list[Record]) -> bool:
        """Append lines to the columns, and return whether all values are numbers; otherwise nothing changes."""
        before = self.step, self.damaged
        try:
            self._put(self._in_order(records))
        except (TypeError, ValueError, OverflowError):
            self.step, self.damaged = before
            return False
        return True

    def _put(self, records: list[Record]) -> None:
        """Append lines to the columns; raise what numpy does for values that are no numbers."""
        steps = np.array([record["step"] for record in records], dtype=np.int64)
        table = _table(records)
        layers = dict(_of_layers(table))
        for key, (there, column) in table.items():
            if key != "step" and not OF_LAYER.fullmatch(key):
                own = [column, *(table[layer][1] for layer in layers.get(key, ()))]
                low, high = (each.reduce(own) for each in (np.fmin, np.fmax)) if len(own) > 1 else (column, column)
                rows = (each[there] for each in (column, low, high))
                self.columns.setdefault(key, Column()).extend(steps[there], *rows)


Table = dict[str, tuple[NDArray[np.bool_], Column64]]
"""Of each key, which lines have it and the value in each line, NaN where there is none or it was not finite."""


def _table(records: list[Record]) -> Table:
    """Return the values of lines by key; those of lines of the same keys are made at once."""
    rows: dict[tuple[str, ...], list[int]] = {}
    for number, record in enumerate(records):
        rows.setdefault(tuple(record), []).append(number)
    table: Table = {}
    for keys, numbers in rows.items():
        values = np.array([list(records[number].values()) for number in numbers], dtype=np.float64).T
        for key, column in zip(keys, values, strict=True):
            there, whole = table.setdefault(key, (np.zeros(len(records), bool), np.full(len(records), np.nan)))
            there[numbers], whole[numbers] = True, column
    return table


def _of_layers(keys: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the key of each metric of several layers with the keys that it has in each."""
    found = [(match[1] + match[2], key) for key in keys if (match := OF_LAYER.fullmatch(key))]
    for whole in dict.fromkeys(name for name, _ in found):
        yield whole, [key for name, key in found if name == whole]

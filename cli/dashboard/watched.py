"""One run as the page is told of it, and the runs that there are.

rows = watch.rows()                                  every run: its name, how it stands, step and loss
told = watch.find(id).told(generation, since, ...)   what is new of one run to whoever knows it up to a step
"""

import hashlib
import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas_ref.errors import UserError
from atlas_ref.reading import opened, parse_json, read_json
from atlas_ref.wording import visible
from cli.dashboard.following import FollowedLog
from cli.dashboard.liveness import is_held
from cli.dashboard.reports import BROKEN, reports, version
from cli.run_records import (
    CONFIG,
    KILL,
    LOCK,
    METRICS,
    SUMMARY,
    find_runs,
    is_run,
    last_step_of,
    read_config,
    status_of,
    tokens_of,
)

TAIL = 2**18
"""Bytes at the end of a log among which its last line is looked for."""


class WatchedRun:
    """A run directory that may not be there yet, grow, be damaged or go away."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, visible(name)
        self.id = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]
        self._log = FollowedLog(path / METRICS)
        self.was_there = False

    def row(self) -> dict[str, Any]:
        """Return what stands in the list of runs."""
        last = last_line(self.path / METRICS)
        return {
            "id": self.id,
            "name": self.name,
            "loss": last.get("train/loss"),
            **self._standing(int(last.get("step", 0))),
        }

    def told(self, generation: int, since: int, known: str) -> dict[str, Any]:
        """Return what is new to whoever knows the log up to step `since` and the other files as `known` says.

        `generation` is that of the log which they know; of another one everything is sent.
        """
        note: str | None = None
        more = False
        try:
            more = self._log.read()
        except UserError as error:
            note = visible(str(error))
        if generation != self._log.generation:
            since = 0
        columns = {
            key: column.thinned(bisect_right(column.steps, since))._asdict() | {"last": column.last}
            for key, column in self._log.columns.items()
            if column.steps[-1] > since
        }
        now = version(self.path)
        return {
            "id": self.id,
            "name": self.name,
            "generation": self._log.generation,
            "since": self._log.step,
            "more": more,
            "columns": columns,
            "notes": [*([note] if note else []), *self._damage()],
            "version": now,
            "reports": None if now == known else reports(self.path),
            **self._standing(self._log.step),
        }

    def _damage(self) -> list[str]:
        count = self._log.damaged
        if not count:
            return []
        return [f"{METRICS}: {count:,} damaged {'line is' if count == 1 else 'lines are'} left out"]

    def _standing(self, step: int) -> dict[str, Any]:
        """Return how the run stands; `age` is the seconds since its last line."""
        there = is_run(self.path)
        self.was_there |= there
        if not there:
            state = "gone" if self.was_there else "not there yet"
            return {"state": state, "step": step, "steps": None, "tokens": None, "age": None}
        try:
            config = read_config(self.path / CONFIG)
            steps, tokens = last_step_of(config), tokens_of(config)
            files = (self.path / name for name in (KILL, SUMMARY))
            kill, summary = (read_json(file) if file.exists() else {} for file in files)
            held = is_held(self.path / LOCK)
            state = "unknown" if held is None else status_of(held, kill, summary, step, steps)
        except BROKEN:
            steps, tokens, state = None, None, "damaged or half written"
        return {"state": state, "step": step, "steps": steps, "tokens": tokens, "age": self._age()}

    def _age(self) -> float | None:
        try:
            return max(0.0, round(time.time() - (self.path / METRICS).stat().st_mtime, 1))
        except OSError:
            return None


class Watch:
    """The runs at some places, looked at again and again: run directories, some yet to come, and folders of them."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places
        self._runs: dict[str, WatchedRun] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for every run that there is, or was since the watch began."""
        found = [
            WatchedRun(path, str(path.relative_to(place)) if path != place else path.absolute().name)
            for place in self._places
            for path in _runs_at(place)
        ]
        for run in found:
            self._runs.setdefault(run.id, run)
        now = {run.id for run in found}
        return [run.row() for run in self._runs.values() if run.id in now or run.was_there]

    def find(self, name: str) -> WatchedRun | None:
        """Return the run of an id."""
        return self._runs.get(name)


def _runs_at(place: Path) -> list[Path]:
    """Return the runs in a folder, or the place itself where a run is or will be."""
    try:
        found = list(find_runs(place)) if place.is_dir() else []
        return found or ([] if place.is_dir() and any(place.iterdir()) else [place])
    except OSError:
        return []


def last_line(log: Path) -> dict[str, Any]:
    """Return the last whole line of a log, empty where there is none or it is damaged."""
    try:
        with opened(log) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL))
            lines = stream.read(TAIL).split(b"\n")
        found = parse_json(lines[-2]) if len(lines) > 1 else {}
        return found if isinstance(found, dict) and type(found.get("step", 0)) is int else {}
    except BROKEN:
        return {}

"""What remains of a run that a kill switch stopped: kill.json in its directory, and one paragraph for its user.

    {"step": 412, "kills": [...], "layers": [...], "last_good_checkpoint": "checkpoints/step-00000300", ...}

`kills` are the records of `kill_switches.Kill`, `layers` all that was measured of each layer at that step. A checkpoint
is good when it was saved before the first bad step; one that was saved while a patience ran is kept too, and named.
Numbers that are not finite are written as "NaN", "Infinity" and "-Infinity".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from atlas_ref.reading import read_json
from atlas_ref.storage.checkpoint import saved_steps
from atlas_ref.storage.files import write_atomically
from atlas_ref.storage.run_directory import RunDirectory
from atlas_ref.watching.kill_switches import Kill
from atlas_ref.wording import quoted


class KillReport(BaseModel):
    """The contents of kill.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int
    kills: tuple[Kill, ...]
    last_good_checkpoint: str | None
    last_checkpoint: str | None
    layers: tuple[dict[str, float], ...]


class KilledError(RuntimeError):
    """A kill switch stopped the run: no checkpoint was written since, and kill.json says why."""


def report_kill(
    directory: RunDirectory, step: int, kills: Sequence[Kill], layers: Sequence[Mapping[str, float]]
) -> KilledError:
    """Write kill.json and return the error to raise, whose text is one paragraph."""
    saved = saved_steps(directory.checkpoints)
    began = min(kill.since for kill in kills)
    good = [path for at, path in saved.items() if at < began]
    last, last_good = _newest(list(saved.values())), _newest(good)
    report = KillReport(
        step=step,
        kills=tuple(kills),
        last_good_checkpoint=_relative(last_good, directory),
        last_checkpoint=_relative(last, directory),
        layers=tuple(dict(table) for table in layers),
    )
    write_atomically(directory.kill, report.model_dump_json(indent=2) + "\n", read_json)
    more = f", and {len(kills) - 1} more" if len(kills) > 1 else ""
    return KilledError(
        f"{kills[0].sentence()}{more}. Likely cause: {kills[0].cause}. {_way_on(last_good, last)} "
        f"The report is {directory.kill}."
    )


def _newest(paths: Sequence[Path]) -> Path | None:
    return paths[-1] if paths else None


def _relative(path: Path | None, directory: RunDirectory) -> str | None:
    return None if path is None else str(path.relative_to(directory.path))


def _way_on(good: Path | None, last: Path | None) -> str:
    """Return where a run can go on; a later checkpoint in the directory makes that a branch."""
    if good is None:
        return "No checkpoint of this directory is from before the first bad step."
    place = "" if good == last else " --out ANOTHER_DIR"
    return f"The last good checkpoint is kept; go on from it with: atlas train --resume {quoted(good)}{place}."

"""Which checkpoints stay, and how the others go.

Kept are the newest `keep_last`; with `keep_best` the best by validation (`train.best`), which the file `best` names;
and whatever a kill switch would name as the last good one: for each streak that is running, the newest checkpoint from
before it began. So a report never finds less than it would have found without retention.

With `keep_best`, a validation that is better than all before it is a reason to save, whatever `save_interval` says:
`best` is then the best of all validations, not of those that happen to fall on a save. A branch inherits the log of
the run it left, so there a validation must be better than all of that run too; its `best` is the best that it holds.

Everything here is a function of the log, the switches and the directory. So it is done again at each start, which
mends what a crash left between a checkpoint and its pointers, or between a checkpoint and the removal of another.
A checkpoint is removed only after a newer one is complete, and it is renamed to a hidden name first: half a directory
never looks like a checkpoint. What is removed, and what happens when that fails, is in `removal`.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from atlas_ref.config import TrainConfig
from atlas_ref.storage.checkpoint import BEST, LATEST, META, checkpoint_name, named_steps, open_checkpoint
from atlas_ref.storage.files import write_atomically
from atlas_ref.storage.metrics_log import read_metrics
from atlas_ref.storage.removal import REMOVED, Removal, contents, refuse_foreign
from atlas_ref.storage.switch_state import SwitchState

VALIDATION = "val/loss"
GAIN = "retrieval/gain"
"""Where the log has what storage adds to what is retrieved, of episodes."""
JUDGES = {"loss": (VALIDATION, 1.0), "retrieval_gain": (GAIN, -1.0)}
"""By `train.best`: what a validation is judged by, and the factor that makes less of it better."""


def judged(values: Mapping[str, object], best: str = "loss") -> float | None:
    """Return what a line of the log is judged by, less of it being better; None where it has nothing finite of it."""
    key, factor = JUDGES[best]
    found = values.get(key)
    return factor * found if isinstance(found, int | float) and math.isfinite(found) else None


def read_validations(log: Path, best: str = "loss") -> dict[int, float]:
    """Return what the validations of a log are judged by, by step."""
    found = {record["step"]: judged(record, best) for record in read_metrics(log)}
    return {step: value for step, value in found.items() if value is not None}


def improves(validations: Mapping[int, float], step: int) -> bool:
    """Return whether `step` was validated and is better than every validation before it; a tie is no improvement."""
    return step in validations and all(
        validations[step] < loss for earlier, loss in validations.items() if earlier < step
    )


def best_of(saved: Iterable[int], validations: Mapping[int, float]) -> int | None:
    """Return the saved step of the best validation, the earlier of equals; None when none was validated."""
    return min((step for step in saved if step in validations), key=lambda s: (validations[s], s), default=None)


def out_of_patience(validations: Mapping[int, float], patience: int) -> bool:
    """Return whether `patience` validations have come after the best one, the earlier of equals; 0 is never out."""
    best = best_of(validations, validations)
    return patience > 0 and best is not None and sum(step > best for step in validations) >= patience


def kept(saved: Iterable[int], best: int | None, switches: SwitchState, keep_last: int) -> set[int]:
    """Return the steps that stay: the newest, the best, and the newest before each running streak."""
    steps = sorted(saved)
    good = (max((step for step in steps if step < began), default=None) for began in set(switches.since.values()))
    return {*steps[-keep_last:], *(step for step in (best, *good) if step is not None)}


class Retention:
    """Keeps a `checkpoints` directory in order while a run trains there.

    It knows the run's checkpoints: those that could be opened when it began, and those that were saved since. What
    appears beside them meanwhile, with whatever name, is none.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._removal = Removal(directory, say)
        self._saved: dict[int, Path] = {}

    def begin(self) -> None:
        """Find the checkpoints there are; what has the name of one and cannot be opened is said, and left alone."""
        for step, path in named_steps(self._directory).items():
            if self._removal.attempt(open_checkpoint, path):
                self._saved[step] = path

    def add(self, step: int, path: Path) -> None:
        """Count a checkpoint that was saved."""
        self._saved[step] = path

    def settle(self, validations: Mapping[int, float], switches: SwitchState, train: TrainConfig) -> None:
        """Point `latest` and `best` to what they mean and remove what is not kept, in an order that no crash can hurt.

        What cannot be written or removed is said, and tried again at the next call.
        """
        saved = {step: path for step, path in self._saved.items() if path.is_dir()}
        if saved:
            best = best_of(saved, validations) if train.keep_best else None
            # What a pointer could not be turned away from stays too, so that it leads somewhere.
            named = {self._point(LATEST, max(saved)), self._point(BEST, best)}
            going = saved.keys() - kept(saved, best, switches, train.keep_last)
            for step in (step for step in going if checkpoint_name(step) not in named):
                self._removal.attempt(hide, saved[step])
        self._removal.attempt(lambda _: self._removal.sweep(), self._directory)

    def _point(self, name: str, step: int | None) -> str:
        """Make a pointer file name a step, or go; return what it names afterwards, whether that was done or not."""
        pointer = self._directory / name
        self._removal.attempt(partial(_point, step=step), pointer, "stays as it is")
        try:
            return pointer.read_text().strip() if pointer.is_file() else ""
        except (OSError, ValueError):
            return ""


def hide(path: Path) -> None:
    """Take its name from a checkpoint, before any of its files goes; raise ForeignError when not all of it is its own.

    What is its own is what its description lists.
    """
    files, folders = contents(path)
    recorded = open_checkpoint(path).files
    refuse_foreign({*files, *folders} - {META, *recorded, *(name.partition("/")[0] for name in recorded)})
    os.replace(path, path.with_name(f"{REMOVED}{path.name}"))


def _point(pointer: Path, step: int | None) -> None:
    """Make a pointer file name a step, or go where there is none; one that is right is left alone."""
    if step is None:
        pointer.unlink(missing_ok=True)
        return
    text = f"{checkpoint_name(step)}\n"
    if not pointer.is_file() or pointer.read_bytes() != text.encode():
        write_atomically(pointer, text)

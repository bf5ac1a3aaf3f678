"""Which checkpoints stay, and how the others go.

Kept are the newest `keep_last`; with `keep_best` the one of the least validation loss, which the file `best` names;
and whatever a kill switch would name as the last good one: for each streak that is running, the newest checkpoint from
before it began. So a report never finds less than it would have found without retention.

With `keep_best`, a validation that is better than all before it is a reason to save, whatever `save_interval` says:
`best` is then the best of all validations, not of those that happen to fall on a save. A branch inherits the log of
the run it left, so there a validation must be better than all of that run too; its `best` is the best that it holds.

Everything here is a function of the log, the switches and the directory. So it is done again at each start, which
mends what a crash left between a checkpoint and its pointers, or between a checkpoint and the removal of another.
A checkpoint is removed only after a newer one is complete, and it is renamed to a hidden name first: half a directory
never looks like a checkpoint.
"""

import math
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from atlas_ref.config import TrainConfig
from atlas_ref.training.checkpoint import BEST, LATEST, PARTIAL, checkpoint_name, saved_steps
from atlas_ref.training.files import sync, write_atomically
from atlas_ref.training.kill_switches import SwitchState
from atlas_ref.training.metrics import read_metrics

REMOVED = ".removed-"
VALIDATION = "val/loss"


def read_validations(log: Path) -> dict[int, float]:
    """Return the finite validation losses of a log by step."""
    losses = {record["step"]: record.get(VALIDATION) for record in read_metrics(log)}
    return {step: loss for step, loss in losses.items() if isinstance(loss, int | float) and math.isfinite(loss)}


def improves(validations: Mapping[int, float], step: int) -> bool:
    """Return whether `step` was validated and is better than every validation before it; a tie is no improvement."""
    return step in validations and all(
        validations[step] < loss for earlier, loss in validations.items() if earlier < step
    )


def best_of(saved: Iterable[int], validations: Mapping[int, float]) -> int | None:
    """Return the saved step of the least validation loss, the earlier of equals; None when none was validated."""
    return min((step for step in saved if step in validations), key=lambda s: (validations[s], s), default=None)


def kept(saved: Iterable[int], best: int | None, switches: SwitchState, keep_last: int) -> set[int]:
    """Return the steps that stay: the newest, the best, and the newest before each running streak."""
    steps = sorted(saved)
    good = (max((step for step in steps if step < began), default=None) for began in set(switches.since.values()))
    return {*steps[-keep_last:], *(step for step in (best, *good) if step is not None)}


def settle(directory: Path, validations: Mapping[int, float], switches: SwitchState, train: TrainConfig) -> None:
    """Point `latest` and `best` to what they mean and remove what is not kept, in an order that no crash can hurt."""
    saved = saved_steps(directory)
    if saved:
        _point(directory / LATEST, max(saved))
        best = best_of(saved, validations) if train.keep_best else None
        _point(directory / BEST, best)
        for step in saved.keys() - kept(saved, best, switches, train.keep_last):
            _hide(saved[step])
    for path in directory.glob(".*") if directory.is_dir() else ():
        if path.name.startswith((REMOVED, PARTIAL)):
            shutil.rmtree(path)


def _point(pointer: Path, step: int | None) -> None:
    """Make a pointer file name a step, or remove it; one that is right is left alone."""
    if step is None:
        pointer.unlink(missing_ok=True)
        return
    text = f"{checkpoint_name(step)}\n"
    if not pointer.is_file() or pointer.read_bytes() != text.encode():
        write_atomically(pointer, text)


def _hide(path: Path) -> None:
    """Take a checkpoint's name away, durably, before any of its files goes."""
    hidden = path.with_name(f"{REMOVED}{path.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(path, hidden)
    sync(path.parent)

"""The directory of one run: where its files are, how it begins, and what may change when it goes on.

    DIR/config.toml      the complete config
    DIR/metrics.jsonl    one line a logged step
    DIR/env.json         the machine and the versions of each start
    DIR/summary.json     how the run ended
    DIR/checkpoints/     see `checkpoint`

Hidden `.*.partial` entries are files that were being written when a process died.
"""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

import atlas_ref
from atlas_ref.config import RunConfig, load_config, to_toml
from atlas_ref.errors import UserError
from atlas_ref.training.checkpoint import Checkpoint, open_checkpoint, saved_steps
from atlas_ref.training.files import read_json, write_atomically, write_json
from atlas_ref.training.metrics import keep_metrics

CHANGEABLE = (
    "train.max_steps",
    "train.log_interval",
    "train.eval_interval",
    "train.save_interval",
    "train.device",
    "train.threads",
)
"""The fields that a resumed run may change; any other change would make it a different run."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside a run directory."""

    path: Path

    @property
    def config(self) -> Path:
        """The complete config as TOML."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """The log."""
        return self.path / "metrics.jsonl"

    @property
    def environment(self) -> Path:
        """Machine and versions, one entry a start."""
        return self.path / "env.json"

    @property
    def summary(self) -> Path:
        """The outcome."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """The parent of all checkpoints."""
        return self.path / "checkpoints"

    def newest_checkpoint(self) -> Checkpoint | None:
        """Open the newest checkpoint, or return None when no step was saved."""
        steps = saved_steps(self.checkpoints)
        return open_checkpoint(steps[max(steps)]) if steps else None

    def unknown_files(self) -> list[str]:
        """Return the names of entries that no run writes."""
        ours = {self.config.name, self.metrics.name, self.environment.name, self.summary.name, self.checkpoints.name}
        left_by_a_crash = {f".{name}.partial" for name in ours}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in ours | left_by_a_crash)


def begin(directory: RunDirectory, config: RunConfig, *, over_unsaved: bool) -> None:
    """Make the directory of a new run; raise UserError unless it is new or empty.

    With `over_unsaved` it may also hold a run that ended before its first checkpoint, whose log is then dropped.
    """
    path = directory.path
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; the run directory must be new or empty")
    path.mkdir(parents=True, exist_ok=True)
    if unknown := directory.unknown_files():
        raise UserError(f"{path} holds {unknown[0]}, which is not of a run; the run directory must be new or empty")
    if any(path.iterdir()) and not (over_unsaved and not saved_steps(directory.checkpoints)):
        raise UserError(f"{path} already holds a run; give --resume auto to go on with it, or another --out")
    write_atomically(directory.config, to_toml(config))
    write_atomically(directory.metrics, "")
    write_environment(directory, 0, earlier=[])


def resume(directory: RunDirectory, checkpoint: Checkpoint, config: RunConfig) -> None:
    """Make the directory ready to go on from `checkpoint`: its own, or one of another run, which is then a branch.

    Raises UserError when the config changes what may not change, or when newer steps of the directory would be lost.
    """
    refuse_changes(checkpoint.path, checkpoint.config, config)
    newer = [path for step, path in saved_steps(directory.checkpoints).items() if step > checkpoint.step]
    if newer:
        raise UserError(
            f"{directory.path} holds steps after {checkpoint.path.name}, up to {newer[-1].name}; "
            "resume from the newest, or branch into another directory with --out"
        )
    source = checkpoint.run_directory
    if source is None or source.resolve() != directory.path.resolve():
        begin(directory, config, over_unsaved=False)
    elif directory.config.exists():
        refuse_changes(directory.config, load_config(str(directory.config)), config)
    if source is not None:
        keep_metrics(RunDirectory(source).metrics, directory.metrics, checkpoint.step)
    write_atomically(directory.config, to_toml(config))
    earlier = read_json(directory.environment) if directory.environment.exists() else []
    write_environment(directory, checkpoint.step, earlier)


def refuse_changes(origin: Path, saved: RunConfig, wanted: RunConfig) -> None:
    """Raise UserError when `wanted` differs from the config saved in `origin` in a field that a run must keep."""
    old, new = dict(_leaves(saved.model_dump())), dict(_leaves(wanted.model_dump()))
    changed = [name for name in old if old[name] != new[name] and name not in CHANGEABLE]
    if changed:
        name = changed[0]
        raise UserError(
            f"{origin}: a resumed run cannot change {name} from {old[name]!r} to {new[name]!r}; "
            f"it may change {', '.join(CHANGEABLE)}"
        )


def write_environment(directory: RunDirectory, step: int, earlier: list[dict[str, Any]]) -> None:
    """Add this start to the list of environments, so that a difference between two runs can be traced."""
    start = {
        "first_step": step + 1,
        "atlas_spec": atlas_ref.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
    }
    write_json(directory.environment, [*earlier, start])


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each field of a nested table under its dotted name."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

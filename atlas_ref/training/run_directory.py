"""The directory of one run: where its files are, how it begins, and what may change when it goes on.

    DIR/config.toml      the complete config
    DIR/metrics.jsonl    one line a logged step
    DIR/env.json         the machine and the versions of each start, and why preflight was skipped
    DIR/preflight.json   the certificate of the gates that let it start, unless they were skipped
    DIR/summary.json     how the run ended
    DIR/kill.json        why a kill switch stopped it, until it goes on
    DIR/checkpoints/     see `checkpoint`
    DIR/.lock            held by the process that trains here (`lock`)
    DIR/tensorboard/, DIR/wandb/     see `sinks`
    DIR/curves.png       what `atlas plot` drew

Other hidden `.*.partial` entries are files that were being written when a process died.
"""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

import atlas_ref
from atlas_ref.config import RunConfig, load_config, to_toml
from atlas_ref.config_switches import KillSwitchesConfig
from atlas_ref.errors import UserError
from atlas_ref.training.checkpoint import Checkpoint, newest_checkpoint, saved_steps
from atlas_ref.training.files import read_json, write_atomically, write_json
from atlas_ref.training.metrics import keep_metrics

CHANGEABLE = (
    "train.max_steps",
    "train.log_interval",
    "train.eval_interval",
    "train.save_interval",
    "train.keep_last",
    "train.keep_best",
    "train.micro_batches",
    "train.parallel",
    "train.device",
    "train.threads",
    "train.tensorboard",
    "train.wandb",
    *(f"kill_switches.{name}" for name in KillSwitchesConfig.model_fields),
)
"""The fields that a resumed run may change; any other change would make it a different run."""


class Admission(NamedTuple):
    """Why a run may start: the text of its preflight certificate, or the reason for which it has none."""

    certificate: str | None
    skipped: str | None


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
    def preflight(self) -> Path:
        """The certificate; one may lie here before the run begins."""
        return self.path / "preflight.json"

    @property
    def kill(self) -> Path:
        """The report of the kill switch that stopped the run."""
        return self.path / "kill.json"

    @property
    def checkpoints(self) -> Path:
        """The parent of all checkpoints."""
        return self.path / "checkpoints"

    @property
    def lock(self) -> Path:
        """The file whose lock says that a run is alive."""
        return self.path / ".lock"

    @property
    def tensorboard(self) -> Path:
        """The event files of TensorBoard."""
        return self.path / "tensorboard"

    @property
    def wandb(self) -> Path:
        """The files of W&B."""
        return self.path / "wandb"

    @property
    def curves(self) -> Path:
        """The picture of the log."""
        return self.path / "curves.png"

    def newest_checkpoint(self) -> Checkpoint | None:
        """Open and verify the newest checkpoint, or return None when no step was saved."""
        return newest_checkpoint(self.checkpoints)

    def unknown_files(self) -> list[str]:
        """Return the names of entries that no run writes."""
        files = (self.config, self.metrics, self.environment, self.summary, self.preflight, self.kill)
        made_of_the_log = (self.tensorboard, self.wandb, self.curves)
        ours = {path.name for path in (*files, *made_of_the_log, self.checkpoints, self.lock)}
        left_by_a_crash = {f".{name}.partial" for name in ours}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in ours | left_by_a_crash)


def check_new(directory: RunDirectory, *, over_unsaved: bool) -> None:
    """Raise UserError unless a new run may begin in the directory, which must not exist or hold a certificate at most.

    With `over_unsaved` it may also hold a run that ended before its first checkpoint, whose log will be dropped.
    """
    path = directory.path
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest}: is a file; the run directory must be new or empty.")
    if not path.exists() or all(entry in (directory.preflight, directory.lock) for entry in path.iterdir()):
        return
    if unknown := directory.unknown_files():
        raise UserError(f"{path}: holds {unknown[0]}, which no run wrote; the run directory must be new or empty.")
    if not over_unsaved or saved_steps(directory.checkpoints):
        raise UserError(f"{path}: already holds a run; give --resume auto to go on with it, or another --out.")


def check_resumed(directory: RunDirectory, checkpoint: Checkpoint, config: RunConfig) -> None:
    """Raise UserError unless `config` may go on from `checkpoint` in the directory: its own, or a new one to branch to.

    The config may differ in the CHANGEABLE fields only, and no later step of the directory may be lost.
    """
    refuse_changes(checkpoint.path, checkpoint.config, config)
    if checkpoint.step > config.train.max_steps:
        raise UserError(f"{checkpoint.path}: is past train.max_steps, which is {config.train.max_steps}.")
    if not belongs_to(checkpoint, directory):
        check_new(directory, over_unsaved=False)
        return
    if directory.config.exists():
        refuse_changes(directory.config, load_config(str(directory.config)), config)
    newer = [path for step, path in saved_steps(directory.checkpoints).items() if step > checkpoint.step]
    if newer:
        raise UserError(
            f"{directory.path}: holds checkpoints after {checkpoint.path.name}, up to {newer[-1].name}; "
            "resume from that one, or branch off into another --out."
        )


def belongs_to(checkpoint: Checkpoint, directory: RunDirectory) -> bool:
    """Return whether a checkpoint is one of the run in the directory."""
    source = checkpoint.run_directory
    return source is not None and source.resolve() == directory.path.resolve()


def prepare(directory: RunDirectory, checkpoint: Checkpoint | None, config: RunConfig, admission: Admission) -> None:
    """Write what a run has before its next step: the log up to the checkpoint, config, certificate and environment.

    What has to be read is read first, so that nothing is changed when it is damaged.
    """
    known = checkpoint is not None and directory.environment.exists()
    earlier = read_json(directory.environment) if known else []
    if not isinstance(earlier, list):
        raise UserError(f"{directory.environment}: must hold a list, one entry for each start of the run.")
    if checkpoint is None or checkpoint.run_directory is None:
        write_atomically(directory.metrics, "")
    else:
        keep_metrics(RunDirectory(checkpoint.run_directory).metrics, directory.metrics, checkpoint.step)
    write_atomically(directory.config, to_toml(config))
    if admission.certificate is not None:
        write_atomically(directory.preflight, admission.certificate)
    # It tells how an earlier start ended; from here on it would tell of this one.
    directory.kill.unlink(missing_ok=True)
    start = environment(checkpoint.step if checkpoint else 0)
    write_json(directory.environment, [*earlier, {**start, "preflight_skipped": admission.skipped}])


def refuse_changes(origin: Path, saved: RunConfig, wanted: RunConfig) -> None:
    """Raise UserError when `wanted` differs from the config saved in `origin` in a field that a run must keep."""
    old, new = dict(leaves(saved.model_dump())), dict(leaves(wanted.model_dump()))
    changed = [name for name in old if old[name] != new[name] and name not in CHANGEABLE]
    if changed:
        name = changed[0]
        raise UserError(
            f"{origin}: a resumed run cannot change {name} from {old[name]!r} to {new[name]!r}; "
            f"it may change {', '.join(name for name in CHANGEABLE if name.startswith('train.'))} and kill_switches."
        )


def environment(step: int) -> dict[str, Any]:
    """Return what a difference between two runs could be traced to: versions, machine and command of this start."""
    return {
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


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each field of a nested table under its dotted name."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

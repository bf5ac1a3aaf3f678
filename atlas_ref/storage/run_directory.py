"""The directory of one run: where its files are, what each start leaves there.

    DIR/config.toml      the complete config
    DIR/metrics.jsonl    one line a logged step
    DIR/samples.jsonl    what the model wrote while it trained (`samples`)
    DIR/env.json         each start: machine, versions, the checkpoint it went on from, why preflight was skipped
    DIR/preflight.json   the certificate of the gates that let it start, unless they were skipped
    DIR/summary.json     how the run ended
    DIR/kill.json        why a kill switch stopped it, until it goes on
    DIR/checkpoints/     see `checkpoint`
    DIR/.lock            held by the process that trains here (`lock`)
    DIR/tensorboard/, DIR/wandb/     see `sinks`
    DIR/curves.png       what `atlas plot` drew
    DIR/suite/           what `atlas eval --suite` found

Other hidden `.*.partial` entries are files that were being written when a process died.
"""

import os
import platform
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

import atlas_ref
from atlas_ref.errors import UserError
from atlas_ref.reading import read_json
from atlas_ref.storage.checkpoint import Checkpoint, newest_checkpoint
from atlas_ref.storage.files import write_json


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
    def samples(self) -> Path:
        """Texts that the model wrote while it trained."""
        return self.path / "samples.jsonl"

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

    @property
    def suite(self) -> Path:
        """How a checkpoint answered a suite of data sets."""
        return self.path / "suite"

    def newest_checkpoint(self) -> Checkpoint | None:
        """Open and verify the newest checkpoint, or return None when no step was saved."""
        return newest_checkpoint(self.checkpoints)

    def unknown_files(self) -> list[str]:
        """Return the names of entries that no run writes."""
        files = (self.config, self.metrics, self.samples, self.environment, self.summary, self.preflight, self.kill)
        made_of_the_run = (self.tensorboard, self.wandb, self.curves, self.suite)
        ours = {path.name for path in (*files, *made_of_the_run, self.checkpoints, self.lock)}
        left_by_a_crash = {f".{name}.partial" for name in ours}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in ours | left_by_a_crash)

    def starts(self) -> list[dict[str, Any]]:
        """Return the starts in env.json, none where there is no such file; raise UserError when it is no list of ours.

        Each is what `environment` returned, and more.
        """
        found = read_json(self.environment) if self.environment.exists() else []
        if not isinstance(found, list) or not all(_is_start(entry) for entry in found):
            raise UserError(f"{self.environment}: must hold a list, one entry for each start of the run.")
        return found

    def note(self, **facts: str) -> None:
        """Add what happened to the entry of the last start."""
        *earlier, last = self.starts()
        write_json(self.environment, [*earlier, {**last, **facts}])


def check_place(path: Path) -> None:
    """Raise UserError for a path with bytes that are not UTF-8, which the files below it cannot be opened with, or with
    control characters, which every message about it would send to a terminal.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(path)):
        raise UserError(f"{str(path)!r}: the path of a run must be UTF-8 without control characters.")


def environment(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Return what a difference between two runs could be traced to: versions, machine and command of this start."""
    return {
        "first_step": checkpoint.step + 1 if checkpoint else 1,
        "checkpoint": str(checkpoint.path.absolute()) if checkpoint else None,
        **versions(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        # What is no UTF-8 in an argument has no place in a file that is.
        "command": [argument.encode(errors="backslashreplace").decode() for argument in sys.argv],
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "atlas_spec": atlas_ref.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def _is_start(entry: Any) -> bool:
    """Return whether an entry of env.json says which step came first, and names a checkpoint or none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("first_step"), int):
        return False
    return isinstance(entry.get("checkpoint"), str | None)

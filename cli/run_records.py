"""What a run directory tells without torch: config, log, outcome and state of a run, for tables and pictures.

Everything is read as plain data, so that a run of another version, or a damaged one, can still be listed.
"""

import fcntl
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from atlas_ref.errors import UserError
from atlas_ref.reading import MOST_TOML, opened, parse_toml, read_bytes, read_header, read_json
from atlas_ref.storage.metrics_log import read_metrics

CONFIG, METRICS, SUMMARY, KILL = "config.toml", "metrics.jsonl", "summary.json", "kill.json"
ENVIRONMENT, CERTIFICATE, CHECKPOINTS, LOCK = "env.json", "preflight.json", "checkpoints", ".lock"
TOKENS = (("train", "batch_size"), ("data", "sequence_length"))
"""The two numbers of a config whose product is the tokens of a step."""


@dataclass(frozen=True)
class RunRecord:
    """The files of one run: its config as a nested table, the lines of its log, and what there is of the others."""

    path: Path
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)
    kill: dict[str, Any] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The last step in the log."""
        return max((int(line["step"]) for line in self.lines), default=0)

    @property
    def tokens_a_step(self) -> int:
        """The tokens that all processes together read in a step; it is the same from the first step to the last."""
        found = tokens_of(self.config)
        if found is None:
            raise UserError(f"{self.path / CONFIG}: does not say how many tokens a step has.")
        return found

    @property
    def preflight(self) -> str:
        """`certificate`, or the reason for which there is none."""
        skipped = self.starts[-1].get("preflight_skipped") if self.starts else None
        if skipped:
            return f'skipped "{skipped}"'
        return "certificate" if (self.path / CERTIFICATE).exists() else "unknown"

    @property
    def killed_by(self) -> str | None:
        """The first kill switch that stopped the run."""
        return switch_of(self.kill) if self.kill else None

    @property
    def status(self) -> str:
        """How the run stands (`status_of`)."""
        return status_of(is_locked(self.path / LOCK), self.kill, self.summary, self.step, self.last_step)

    @property
    def last_step(self) -> int:
        """The number of steps of both stages."""
        return last_step_of(self.config)

    def series(self, key: str) -> list[tuple[int, float]]:
        """Return step and value of each line that has the key; NaN where the value was not finite."""
        found = ((line["step"], line[key]) for line in self.lines if key in line)
        return [(int(step), math.nan if value is None else float(value)) for step, value in found]

    def row(self) -> dict[str, Any]:
        """Return what a comparison of runs shows, None where nothing is known."""
        train, validation = self.series("train/loss"), self.series("val/loss")
        speeds = [speed for _, speed in self.series("train/tokens_per_second")]
        best = min((pair[::-1] for pair in validation if not math.isnan(pair[1])), default=(None, None))
        train_config = self.config["train"]
        return {
            "status": self.status,
            "steps": self.step,
            "max_steps": self.last_step,
            "parameters": self.summary.get("parameters", count_parameters(self.path)),
            "memory": memory_words(self.config["model"]),
            "seed": train_config["seed"],
            "train_loss": _last(train),
            "val_loss": _last(validation),
            "best_val_loss": best[0],
            "best_val_step": best[1],
            "tokens_per_second": median(speeds) if speeds else None,
            "preflight": self.preflight,
        }


def switch_of(kill: dict[str, Any]) -> str:
    """Return the first kill switch of a report."""
    return str(kill["kills"][0]["switch"])


def status_of(alive: bool, kill: dict[str, Any], summary: dict[str, Any], step: int, last_step: int) -> str:
    """Return how a run stands: running, killed by a switch, finished, or interrupted."""
    if alive:
        return "running"
    if kill:
        return f"killed by {switch_of(kill)} at step {kill['step']}"
    whole = step == last_step or summary.get("stopped_early") is True
    return "finished" if summary.get("steps") == step and whole else "interrupted"


def last_step_of(config: dict[str, Any]) -> int:
    """Return the number of steps of both stages; a run of an earlier version has one."""
    return int(config["train"]["max_steps"] + config.get("stage2", {}).get("steps", 0))


def tokens_of(config: dict[str, Any]) -> int | None:
    """Return the tokens of a step, None where a config does not say."""
    rows, length = (config.get(part, {}).get(name) for part, name in TOKENS)
    return rows * length if isinstance(rows, int) and isinstance(length, int) else None


def memory_words(model: dict[str, Any]) -> str:
    """Return what the section of a model says of its memory, in the words of `atlas config list`."""
    if "recursion" in model:
        return f"{model['recursion']['nets']} recursion"
    if "memory" not in model:
        return "none"
    return "off" if model["disable_memory"] else f"{model['memory']['rule']} {model['memory']['architecture']}"


def _last(series: list[tuple[int, float]]) -> float | None:
    return series[-1][1] if series and not math.isnan(series[-1][1]) else None


def is_run(path: Path) -> bool:
    """Return whether a directory holds a run, whole or not."""
    return any((path / name).exists() for name in (CONFIG, METRICS, SUMMARY)) or (path / CHECKPOINTS).is_dir()


def find_runs(root: Path) -> Iterator[Path]:
    """Yield every run directory in `root`, sorted, or `root` itself when it is one; raise UserError without it."""
    if not root.is_dir():
        raise UserError(f"{root}: is not a directory; name one that holds runs.")
    for folder, inside, _ in os.walk(root):
        inside.sort()
        if is_run(Path(folder)):
            inside.clear()
            yield Path(folder)


def read_run(path: Path) -> RunRecord:
    """Return the record of a run; raise UserError, naming the file, for what is missing or damaged."""
    if not is_run(path):
        raise UserError(f"{path}: is not a run directory.")
    try:
        record = RunRecord(
            path=path,
            config=read_config(path / CONFIG),
            lines=read_metrics(path / METRICS),
            summary=_table(path / SUMMARY),
            kill=_table(path / KILL),
            starts=read_json(path / ENVIRONMENT) if (path / ENVIRONMENT).exists() else [],
        )
        record.row()
    except UserError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: its files are not those of a run ({type(error).__name__}: {error}).") from None
    return record


def read_config(path: Path) -> dict[str, Any]:
    """Return a config file as a nested table; raise UserError when it is not there or not TOML."""
    content = read_bytes(path, MOST_TOML)
    try:
        return parse_toml(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not TOML ({error}).") from None


def _table(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where there is no file."""
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise UserError(f"{path}: is not a JSON object.")
    return found


def is_locked(lock: Path) -> bool:
    """Return whether a process holds the lock of a run directory."""
    if not lock.is_file():
        return False
    with opened(lock) as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def count_parameters(path: Path) -> int | None:
    """Return the number of parameters in the newest checkpoint, from the header of its weights alone."""
    weights = sorted(path.glob(f"{CHECKPOINTS}/step-*/model.safetensors"))
    if not weights:
        return None
    return sum(int(math.prod(entry["shape"])) for entry in read_header(weights[-1]).values())


def flattened(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested table with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def differences(one: RunRecord, other: RunRecord) -> dict[str, tuple[Any, Any]]:
    """Return the fields of the config in which two runs differ, None where one has no such field."""
    first, second = flattened(one.config), flattened(other.config)
    names = [*first, *(name for name in second if name not in first)]
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

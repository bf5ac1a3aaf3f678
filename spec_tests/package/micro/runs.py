"""A model small enough to train within a test, and what the tests of training share."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atlas_ref.config import RunConfig, load_config, to_toml
from atlas_ref.storage.checkpoint import TENSOR_FILES, Checkpoint, find_checkpoint
from atlas_ref.storage.metrics_log import TIMING
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import Outcome, get_ready, train
from atlas_ref.watching.reporting import Reporter

MICRO = (
    "model.d_model=32",
    "model.n_layers=2",
    "model.n_heads=2",
    "model.feed_forward_dim=48",
    "model.attention.window=8",
    "model.attention.persistent_tokens=2",
    "model.memory.chunk=8",
    "model.memory.key_dim=8",
    "model.memory.value_dim=16",
    "data.sequence_length=32",
    "data.context_batches=4",
    "optim.warmup_steps=2",
    "train.max_steps=6",
    "train.batch_size=2",
    "train.device='cpu'",
    "train.threads=1",
    "train.log_interval=2",
    "train.eval_interval=3",
    "train.eval_batches=2",
    "train.save_interval=3",
)
"""Overrides that make the preset `tiny` train in a second."""

RECALL = (
    "data.source='recall'",
    "data.sequence_length=64",
    "data.recall.keys=8",
    "data.recall.values=8",
    "data.recall.pairs=4",
    "data.recall.queries=4",
    "data.recall.gap=40",
    "model.vocab_size=24",
)
"""Overrides that turn the small model to associative recall."""

DROPOUT = (
    "model.dropout.embedding=0.1",
    "model.dropout.attention=0.2",
    "model.dropout.memory=0.3",
    "model.dropout.residual=0.4",
)
"""Overrides by which training leaves something out everywhere."""

SKIPPED = "the test is about something else"
UNEXAMINED = ("--skip-preflight", SKIPPED)
"""What tests that start many small runs say to `atlas train`: a micro model is too small to pass the gates."""


class Silence:
    """A reporter that says nothing."""

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        del step, loss, tokens_per_second

    def on_metrics(self, step: int, values: dict[str, float]) -> None:
        del step, values

    def say(self, text: str) -> None:
        del text


class Listener(Silence):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def micro_config(*overrides: str) -> RunConfig:
    """Return the small config with further overrides."""
    return load_config("tiny", [*MICRO, *overrides])


def micro_file(path: Path, *overrides: str) -> Path:
    """Write the small config with further overrides to a file, for the command line, and return its path."""
    path.write_text(to_toml(micro_config(*overrides)), encoding="utf-8")
    return path


def start(
    config: RunConfig, path: Path, stop: Callable[[], bool] = lambda: False, reporter: Reporter | None = None
) -> Outcome:
    """Train from the beginning in a new directory."""
    ready = get_ready(config, RunDirectory(path), None, over_unsaved=False)
    return train(ready, Admission(None, SKIPPED), reporter or Silence(), stop)


def go_on(
    config: RunConfig, path: Path, checkpoint: Checkpoint | None = None, stop: Callable[[], bool] = lambda: False
) -> Outcome:
    """Train on from a checkpoint, or from the newest one in the directory."""
    found = checkpoint or find_checkpoint(path)
    ready = get_ready(config, RunDirectory(path), found, over_unsaved=False)
    return train(ready, Admission(None, SKIPPED), Silence(), stop)


def stop_before(step: int) -> Callable[[], bool]:
    """Return a stop request that is asked before each step and says yes when `step` (1-based) would be next."""
    asked = iter(range(1, step + 1))
    return lambda: next(asked) == step


def saved_bytes(path: Path) -> dict[str, bytes]:
    """Return the tensor files of the newest checkpoint below a run directory, byte for byte."""
    checkpoint = find_checkpoint(path)
    return {name: (checkpoint.path / name).read_bytes() for name in TENSOR_FILES}


def metric_lines(path: Path) -> list[dict[str, Any]]:
    """Return the log of a run."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def without_timing(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return log lines without the values that the clock decides."""
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]

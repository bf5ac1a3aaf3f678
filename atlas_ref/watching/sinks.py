"""Where the lines of the log go besides metrics.jsonl: TensorBoard event files and Weights & Biases, either or both.

    DIR/tensorboard/     `train.tensorboard`: events.out.tfevents.*, one file a start
    DIR/wandb/           `train.wandb`: what W&B writes, and atlas.json: {"id": of the run, "step": last one sent}

metrics.jsonl is the source of truth. A sink shows the same values under the same keys and steps; what is not finite,
null in the log, is left out. On resume no step stands twice: TensorBoard purges what came after the checkpoint, and W&B
is sent only the steps that it has not had, whose numbers are the same, as a resumed run equals one that was not
stopped. A sink that is switched on later is first given the lines that it missed: W&B all of them, TensorBoard when it
is empty.

W&B is offline (`wandb sync DIR/wandb/offline-run-*` uploads) unless WANDB_MODE says otherwise; nothing asks for a
login. Training never stops for a sink: one that fails to open, to write or to close (disk full, service gone) is
reported once and left alone from then on; the next start tries it again.
"""

import json
import math
import netrc
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlparse

from atlas_ref.config import RunConfig, TrainConfig
from atlas_ref.errors import UserError
from atlas_ref.reading import read_json
from atlas_ref.storage.files import write_atomically
from atlas_ref.storage.metrics_log import read_metrics
from atlas_ref.storage.run_directory import RunDirectory
from atlas_ref.watching.reporting import Reporter

WANDB_STATE = "atlas.json"
Lines = Sequence[tuple[int, Mapping[str, float | None]]]
"""Lines of the log: step and values, None where a value was not finite."""
WITHOUT_LOGIN = ("offline", "disabled", "dryrun")
"""Values of WANDB_MODE that need no key."""


class SinkError(RuntimeError):
    """A sink could not do what it was asked for; the text says why."""


@runtime_checkable
class Sink(Protocol):
    """Takes the lines of the log; every method may raise SinkError."""

    name: str

    def wants(self, step: int) -> bool:
        """Return whether the line of a step is still missing here."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the finite values of the line of a step."""

    def close(self, *, failed: bool) -> None:
        """Finish; `failed` says that training did."""


def check_sinks(config: TrainConfig) -> None:
    """Raise UserError when a sink that is switched on cannot work, before anything is trained."""
    for name, wanted in (("tensorboard", config.tensorboard), ("wandb", config.wandb)):
        if wanted and not _is_installed(name):
            raise UserError(
                f"train.{name} is true, but the package {name} is not installed; in a checkout: pip install '.[{name}]'"
            )
    mode = os.environ.get("WANDB_MODE", "offline")
    if config.wandb and mode not in WITHOUT_LOGIN and not _has_wandb_key():
        raise UserError(
            f'WANDB_MODE is "{mode}", but there is no W&B key; set WANDB_API_KEY or run `wandb login`, '
            "or unset WANDB_MODE to write offline."
        )


def _is_installed(package: str) -> bool:
    """Return whether a package is there; a mere folder of its name, such as DIR/wandb, has no origin."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def _has_wandb_key() -> bool:
    """Return whether W&B can log in without asking: a key in the environment or for its host in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class TensorBoard:
    """Event files, complete up to the last line whenever the process ends."""

    name = "TensorBoard"

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._first = step + 1
        try:
            self._empty = not folder.exists() or not any(folder.iterdir())
            self._writer = SummaryWriter(str(folder), purge_step=None if self._empty else self._first)
        except OSError as error:
            raise SinkError(str(error)) from error

    def wants(self, step: int) -> bool:
        """Return whether the line of a step is new, or missing because there was no event file yet."""
        return self._empty or step >= self._first

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add each value as a scalar and flush."""
        try:
            for key, value in values.items():
                self._writer.add_scalar(key, value, step)
            self._writer.flush()
        except OSError as error:
            raise SinkError(str(error)) from error

    def close(self, *, failed: bool) -> None:
        """Close the event file."""
        del failed
        try:
            self._writer.close()
        except OSError as error:
            raise SinkError(str(error)) from error


class WandB:
    """A W&B run that keeps its id over all starts of the run directory."""

    name = "W&B"

    def __init__(self, directory: RunDirectory, config: RunConfig, step: int) -> None:
        import wandb

        self._errors = (wandb.Error, OSError)
        self._state = directory.wandb / WANDB_STATE
        try:
            directory.wandb.mkdir(exist_ok=True)
            # A run that starts afresh where another one was never saved is another run.
            goes_on = step > 0 and self._state.exists()
            self._id, self._sent = uuid.uuid4().hex, 0
            if goes_on:
                known = read_json(self._state)
                self._id, self._sent = str(known["id"]), int(known["step"])
            self._run = wandb.init(
                project="atlas",
                name=directory.path.resolve().name,
                id=self._id,
                # Offline there is nothing to resume from, and W&B would say so at every start.
                resume="allow" if self._online else None,
                dir=str(directory.path),
                mode=None if "WANDB_MODE" in os.environ else "offline",
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except (*self._errors, UserError, KeyError, TypeError, ValueError) as error:
            raise SinkError(str(error)) from error

    @property
    def _online(self) -> bool:
        return os.environ.get("WANDB_MODE", "offline") not in WITHOUT_LOGIN

    def wants(self, step: int) -> bool:
        """Return whether the line of a step was never sent."""
        return step > self._sent

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values and remember that they were sent."""
        try:
            self._run.log(dict(values), step=step)
            self._sent = step
            write_atomically(self._state, json.dumps({"id": self._id, "step": step}) + "\n")
        except self._errors as error:
            raise SinkError(str(error)) from error

    def close(self, *, failed: bool) -> None:
        """Wait until everything is written, or uploaded, and finish."""
        try:
            self._run.finish(exit_code=int(failed))
        except self._errors as error:
            raise SinkError(str(error)) from error


class Broadcast:
    """A reporter that passes everything on, and the lines of the log to the sinks too."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._sinks: list[Sink] = []

    def open(self, name: str, make: Callable[[], Sink], earlier: Lines) -> None:
        """Add the sink that `make` returns, and give it those lines of the log that it missed."""
        try:
            sink = make()
        except SinkError as error:
            self._warn(name, error)
            return
        self._sinks.append(sink)
        for step, values in earlier:
            self._write(sink, step, values)

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Follow an update."""
        self._reporter.on_step(step, loss, tokens_per_second)

    def on_metrics(self, step: int, values: dict[str, float]) -> None:
        """Follow a line of the log."""
        self._reporter.on_metrics(step, values)
        for sink in tuple(self._sinks):
            self._write(sink, step, values)

    def say(self, text: str) -> None:
        """Say one thing once."""
        self._reporter.say(text)

    def close(self, *, failed: bool) -> None:
        """Finish every sink that still works."""
        for sink in self._sinks:
            try:
                sink.close(failed=failed)
            except SinkError as error:
                self._warn(sink.name, error)
        self._sinks = []

    def _write(self, sink: Sink, step: int, values: Mapping[str, float | None]) -> None:
        """Give a line to a sink that lacks it; one that fails is told of and left alone."""
        if sink not in self._sinks or not sink.wants(step):
            return
        finite = {key: value for key, value in values.items() if value is not None and math.isfinite(value)}
        try:
            sink.write(step, finite)
        except SinkError as error:
            self._sinks.remove(sink)
            self._warn(sink.name, error)

    def _warn(self, name: str, error: SinkError) -> None:
        self._reporter.say(f"{name} is left out from here on: {error}; metrics.jsonl has everything")


@contextmanager
def broadcast(config: RunConfig, directory: RunDirectory, step: int, reporter: Reporter) -> Iterator[Reporter]:
    """Provide a reporter that also feeds the sinks of `config`, for a run that goes on after `step`."""
    heard = Broadcast(reporter)
    records = read_metrics(directory.metrics) if config.train.tensorboard or config.train.wandb else []
    earlier = [(record.pop("step"), record) for record in records]
    if config.train.tensorboard:
        heard.open(TensorBoard.name, lambda: TensorBoard(directory.tensorboard, step), earlier)
    if config.train.wandb:
        heard.open(WandB.name, lambda: WandB(directory, config, step), earlier)
    failed = True
    try:
        yield heard
        failed = False
    finally:
        heard.close(failed=failed)

"""What a person sees while a model trains: a progress bar on a terminal, plain lines anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from atlas_ref.wording import visible

NARROW = 72
"""Columns below which the bar goes without speed, so that step, loss and time left stay whole beside it."""


class PlainReporter:
    """One line for each line of the log; also what files and pipes get."""

    def __init__(self, console: Console, first_step: int, max_steps: int) -> None:
        self._console = console
        self._first_step = first_step
        self._max_steps = max_steps
        self._began = time.monotonic()

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Say nothing: a line for every step would hide the others."""

    def on_metrics(self, step: int, values: dict[str, float]) -> None:
        """Print the line of a step, unless it has only what is said elsewhere, as the end of an epoch is."""
        if described := describe(values):
            self.say(f"step {step}/{self._max_steps}  {described}  {self._time_left(step)} left")

    def say(self, text: str) -> None:
        """Print a text unwrapped; it may hold what others wrote, such as a path, a message or what the model made."""
        self._console.print(visible(text, lines=True), soft_wrap=True, markup=False, emoji=False, highlight=False)

    def _time_left(self, step: int) -> str:
        seconds = (time.monotonic() - self._began) / (step - self._first_step) * (self._max_steps - step)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""


class BarReporter(PlainReporter):
    """A bar with loss, tokens a second and time left; validation losses are printed above it."""

    def __init__(self, console: Console, first_step: int, max_steps: int) -> None:
        super().__init__(console, first_step, max_steps)
        self._wide = console.width >= NARROW
        # Only the bar itself may shrink: a column that wraps would lose its digits first.
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            *([TextColumn("left")] if self._wide else []),
            console=console,
        )
        self._task = self._bar.add_task("train", total=max_steps, completed=first_step, state="starting")

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Move the bar."""
        speed = f"  {tokens_per_second:,.0f} tokens/s" if self._wide else ""
        self._bar.update(self._task, completed=step, state=f"loss {loss:.3f}{speed}")

    def on_metrics(self, step: int, values: dict[str, float]) -> None:
        """Print a validation; the bar shows the rest."""
        if "val/loss" in values:
            self.say(f"step {step}/{self._max_steps}  {describe(values)}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def make_reporter(first_step: int, max_steps: int) -> PlainReporter:
    """Return the reporter that suits standard output; NO_COLOR is honoured by the console."""
    console = Console()
    kind = BarReporter if console.is_terminal and not console.is_dumb_terminal else PlainReporter
    return kind(console, first_step, max_steps)


def describe(values: dict[str, float]) -> str:
    """Return the losses and the speed of a line of the log for reading."""
    parts = []
    if "train/loss" in values:
        parts.append(f"loss {values['train/loss']:.4f}")
    if "val/loss" in values:
        parts.append(f"validation {values['val/loss']:.4f}")
    if "train/tokens_per_second" in values:
        parts.append(f"{values['train/tokens_per_second']:,.0f} tokens/s")
    return "  ".join(parts)

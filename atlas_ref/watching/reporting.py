"""Where the training loop says how far it is; the command line draws it, tests record it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Hears of every update, every line of the log, and of what happens once."""

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Follow an update."""

    def on_metrics(self, step: int, values: dict[str, float]) -> None:
        """Follow a line of the log."""

    def say(self, text: str) -> None:
        """Say one thing once."""

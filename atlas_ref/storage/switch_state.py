"""What the kill switches (`watching.kill_switches`) remember from step to step: plain data, saved in checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field

HISTORY = 32
"""Values of a metric that a report shows."""


@dataclass(frozen=True)
class SwitchState:
    """What the switches remember: plain data, saved in checkpoints.

    `since` and `history` are keyed by switch, metric and layer; `losses` is the reference of the loss, oldest first,
    and `first_loss` that of the first step of the run.
    """

    since: Mapping[str, int] = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    first_loss: float | None = None

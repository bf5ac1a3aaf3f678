"""What stays the same from step to step of a run."""

from dataclasses import dataclass, field

import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import BatchSource
from atlas_ref.training.distributed import World
from atlas_ref.training.metrics import MetricsLog
from atlas_ref.training.reporting import Reporter
from atlas_ref.training.retention import Retention
from atlas_ref.training.run_directory import Admission, RunDirectory


@dataclass
class Speed:
    """Tokens and seconds of training since the last line of the log; validation and saving do not count."""

    tokens: int = field(default=0)
    seconds: float = field(default=0.0)

    def per_second(self) -> float:
        """Return the tokens a second so far."""
        return self.tokens / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Context:
    """What stays the same from step to step, and what is only counted: `validations` are the losses in the log."""

    config: RunConfig
    source: BatchSource
    device: torch.device
    world: World
    directory: RunDirectory
    admission: Admission
    log: MetricsLog
    reporter: Reporter
    speed: Speed
    validations: dict[int, float]
    retention: Retention

    def is_due(self, step: int, interval: int) -> bool:
        """Return whether something that happens every `interval` steps, and after the last, happens after `step`."""
        return step % interval == 0 or step == self.config.train.max_steps

"""What stays the same from step to step of a run."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch, BatchSource
from atlas_ref.processes.distributed import World
from atlas_ref.storage.metrics_log import MetricsLog
from atlas_ref.storage.retention import Retention
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.watching.grokking import Measured
from atlas_ref.watching.reporting import Reporter
from atlas_ref.watching.speed import Speed


@dataclass(frozen=True)
class Context:
    """What stays the same from step to step, and what is only counted: `batch` gives the batch of a step,
    `validations` is what those in the log are judged by, and `measured` what it knows of grokking.
    """

    config: RunConfig
    source: BatchSource
    batch: Callable[[int], Batch]
    device: torch.device
    world: World
    directory: RunDirectory
    admission: Admission
    log: MetricsLog
    reporter: Reporter
    speed: Speed
    validations: dict[int, float]
    measured: list[Measured]
    retention: Retention

    def is_due(self, step: int, interval: int) -> bool:
        """Return whether something that happens every `interval` steps, and after the last, happens after `step`."""
        return step % interval == 0 or step == self.config.last_step

    def begins(self, step: int) -> bool:
        """Return whether a run, or a stage of its curriculum, begins with `step` (1-based)."""
        plan = self.config.data.curriculum
        return step == 1 or (plan.epoch_steps > 0 and plan.begins(step - 1))

"""How fast a run is, for its log: seconds a step, tokens a second, memory, and the share of the device that it uses."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from atlas_ref.config import RunConfig
from atlas_ref.models.registry import family_of
from atlas_ref.processes.distributed import World
from atlas_ref.storage.metrics_log import HOURS, MEMORY, MFU, MINUTES, RESERVED, SECONDS, SPEED, read_metrics
from atlas_ref.watching.summary import peak_rss_mib

HOUR, MINUTE = 3600.0, 60.0
TRIES = 5
SIDES = {"cpu": 512, "cuda": 4096}
"""Side of the square matrices whose product is timed."""


@dataclass
class Speed:
    """Steps, tokens and seconds of training since the last line of the log; validation and saving do not count.

    `whole` are the seconds of the run since its first step, in all processes that it was resumed in, `epoch` those
    before the epoch that it is in.
    """

    steps: int = field(default=0)
    tokens: int = field(default=0)
    seconds: float = field(default=0.0)
    whole: float = field(default=0.0)
    epoch: float = field(default=0.0)

    @classmethod
    def after(cls, log: Path) -> "Speed":
        """Return what goes on with a log: the time that its lines tell of, none where there are none."""
        whole, epoch = 0.0, 0.0
        for record in read_metrics(log):
            whole = HOUR * (record.get(HOURS) or whole / HOUR)
            epoch = whole if MINUTES in record else epoch
        return cls(whole=whole, epoch=epoch)

    def add(self, tokens: int, seconds: float) -> None:
        """Count one step."""
        self.steps, self.tokens, self.seconds = self.steps + 1, self.tokens + tokens, self.seconds + seconds
        self.whole += seconds

    def end_epoch(self) -> dict[str, float]:
        """Return the minutes of the epoch that ends and the hours of the run, and begin another epoch."""
        minutes = (self.whole - self.epoch) / MINUTE
        self.epoch = self.whole
        return {MINUTES: minutes, HOURS: self.whole / HOUR}

    def per_second(self) -> float:
        """Return the tokens a second so far."""
        return self.tokens / max(self.seconds, 1e-9)

    def take(self, config: RunConfig, device: torch.device, world: World) -> dict[str, float]:
        """Return the numbers of a line of the log, and begin to count again.

        MFU is the operations of the steps (`models.flops`) in one second over what all devices reach in a product of
        two large matrices (`peak`).
        """
        settings = config.train
        attainable = peak(device, settings.precision, settings.threads) * world.size
        found = {
            SPEED: self.per_second(),
            SECONDS: self.seconds / max(self.steps, 1),
            MEMORY: memory_bytes(device),
            MFU: family_of(config.any_model).training_flops(config.any_model) * self.per_second() / attainable,
            HOURS: self.whole / HOUR,
        }
        if device.type == "cuda":
            found[RESERVED] = float(torch.cuda.max_memory_reserved(device))
        self.steps, self.tokens, self.seconds = 0, 0, 0.0
        return found


def memory_bytes(device: torch.device) -> float:
    """Return the most memory that this process has had: on its GPU, or as a whole where it computes on the CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return peak_rss_mib() * 2**20


@cache
def peak(device: torch.device, precision: str, threads: int) -> float:
    """Return the operations a second that a device reaches, measured: the best of some products of square matrices.

    In the precision of the run's products and on its `threads` of a CPU. The same method serves every device; a data
    sheet knows no CPU, and of a GPU only what none reaches.
    """
    del threads  # Only tells apart what was measured: the process runs on them already.
    side = SIDES[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.linspace(-1.0, 1.0, side * side, device=device).view(side, side).to(dtype)
    out = torch.empty_like(matrix)
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else _nothing
    least = float("inf")
    for _ in range(TRIES):
        wait()
        began = time.perf_counter()
        torch.mm(matrix, matrix, out=out)
        wait()
        least = min(least, time.perf_counter() - began)
    return 2 * side**3 / max(least, 1e-9)


def _nothing() -> None:
    """Wait for nothing: a product on the CPU has ended when it returns."""

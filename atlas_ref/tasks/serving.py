"""How a model that answers several times is judged: by the answers that it serves, and when it halts.

`halting_steps` is the mean iteration at which a scored place halts (`models.serving`), whichever answer is served.
"""

from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.models.family import Output
from atlas_ref.models.serving import halting_steps, served
from atlas_ref.tasks.task import Meter


class ServedMeter:
    """What another meter adds up of served answers, and when places halt (Meter)."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._steps, self._halted = 0.0, 0.0

    def add(self, output: Output, batch: Batch) -> None:
        """Count what is served of a batch."""
        self._meter.add(served(output), batch)
        if (steps := halting_steps(output)) is not None:
            scored = batch.targets != IGNORED
            self._steps += float(steps[scored].sum())
            self._halted += float(scored.sum())

    def sums(self) -> tuple[float, ...]:
        """Return the sums of the other meter, then iterations and places that halted."""
        return *self._meter.sums(), self._steps, self._halted

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        """Return the metrics of the other meter, and `halting_steps` where anything halts."""
        *others, steps, halted = sums
        found = self._meter.metrics(tuple(others))
        return {**found, "halting_steps": steps / halted} if halted else found

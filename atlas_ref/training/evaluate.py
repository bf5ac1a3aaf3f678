"""Validation: how a task judges held-out batches, from a fresh memory state that never meets the training state."""

from operator import itemgetter

import torch

from atlas_ref.data.batch import ValidationSource
from atlas_ref.models.family import Model
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.processes.parallel import fresh_state, is_sharded
from atlas_ref.tasks.serving import ServedMeter
from atlas_ref.tasks.task import Task
from atlas_ref.training.arithmetic import without_denormals
from atlas_ref.training.step import forward, to_device


@without_denormals()
def evaluate(
    model: Model,
    task: Task,
    source: ValidationSource,
    batches: int,
    precision: str,
    outer_step: int | None = None,
    world: World = ALONE,
) -> dict[str, float]:
    """Return the metrics of the task (`tasks.language` for text and recall) on what the model serves (`tasks.serving`).

    The first `batches` validation batches, or all when there are fewer, are read in order with the state carried from
    one to the next, as in training, at the schedules of `outer_step`. Several processes share the rows, and all return
    the same numbers.
    """
    device = next(model.parameters()).device
    mine, counts = _share(len(source.validation(0).tokens), world)
    meter = ServedMeter(task.meter(source))
    # Shards that are gathered under inference mode could not be trained on afterwards.
    with torch.no_grad() if is_sharded(model) else torch.inference_mode():
        state = fresh_state(model, mine.stop - mine.start, device)
        for index in range(min(batches, source.validation_batches)):
            batch = to_device(source.validation(index).map(itemgetter(mine)), device)
            output = forward(model, batch, state, precision, outer_step)
            state = output.state
            meter.add(output, batch)
    sums = meter.sums()
    return meter.metrics(tuple(world.sums(*(sums if counts else (0.0,) * len(sums)))))


def _share(rows: int, world: World) -> tuple[slice, bool]:
    """Return the rows that this process evaluates, and whether they count.

    Where there are fewer rows than processes each evaluates all, as every forward pass of a sharded model needs every
    process, and the first one counts.
    """
    return (world.rows(rows), True) if rows >= world.size else (slice(0, rows), world.main)

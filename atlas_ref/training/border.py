"""The borders between the stages of a run, which it crosses with the same weights, moments and memories.

A second stage computes in finer chunks, and its model is made anew; a stage of a curriculum reads other sets, which the
source of the data knows by the number of the step.
"""

from collections.abc import Iterator

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import StagedSource
from atlas_ref.training.context import Context
from atlas_ref.training.run import Run, new_run


def cross(run: Run, context: Context) -> Iterator[str]:
    """Cross each border that a run stands at before its next step, and yield a line that says so."""
    if context.config.stage2.steps and run.step == context.config.train.max_steps:
        yield enter_second_stage(run, context.config)
    if isinstance(context.source, StagedSource) and (line := context.source.border(run.step)):
        yield line


def enter_second_stage(run: Run, config: RunConfig) -> str:
    """Turn a run at the end of its first stage, in place, into one that begins the second; return a line that says so.

    The state of the rows goes on: an anchor from inside a long chunk serves until the next short one begins. What does
    not learn any more loses its moments, as in a checkpoint of the second stage.
    """
    fresh = new_run(config, run.device, run.world, run.step)
    fresh.model.load_state_dict(run.model.state_dict())
    kept = fresh.optimiser.keeps()
    fresh.optimiser.from_tensors({name: x for name, x in run.optimiser.to_tensors().items() if name in kept})
    run.model, run.network, run.optimiser, run.recordings = fresh.model, fresh.network, fresh.optimiser, None
    stage, before = config.stage2, config.model.memory.stage_chunks()
    rate = stage.rate * config.optim.learning_rate
    return (
        f"stage 2 from step {run.step + 1} to {config.last_step}: chunks of {_listed(stage.chunks)} tokens in place of "
        f"{_listed(before)}, learning rate {rate:.4g}, trainable: {stage.trainable}"
    )


def _listed(chunks: tuple[int, ...]) -> str:
    return " and ".join(f"{chunk:,}" for chunk in chunks)

"""What a run leaves at a step: a checkpoint, or the report of the kill switch that forbids one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from atlas_ref.processes.distributed import World
from atlas_ref.processes.parallel import own_part
from atlas_ref.storage.checkpoint import InTheWayError, checkpoint_name, save_checkpoint
from atlas_ref.storage.removal import make_partial
from atlas_ref.storage.sharded_checkpoint import write_shards
from atlas_ref.training.context import Context
from atlas_ref.training.run import Run
from atlas_ref.watching.kill_report import KilledError, report_kill
from atlas_ref.watching.kill_switches import Kill, non_finite


def killed(context: Context, step: int, kills: Sequence[Kill], layers: Sequence[Mapping[str, float]]) -> KilledError:
    """Return the error that stops every process, after the first of them has written the report."""
    if context.world.main:
        return report_kill(context.directory, step, kills, layers)
    return KilledError(kills[0].sentence())


def save(run: Run, context: Context, *, last: bool) -> None:
    """Write a checkpoint of the step that the run has reached, unless there is one or nothing was learnt yet.

    What retention does not keep is removed after it. Where something has the name of the checkpoint that is said and
    the run goes on to its next save, unless this is the `last`: then it is raised.

    Raises KilledError instead when any tensor of it is not finite: an update can overflow after a finite gradient.
    """
    if run.step == run.saved:
        return
    tensors = run.tensors()
    if kill := bad_tensor(run, tensors, context.world):
        raise killed(context, run.step, [kill], [])
    made: str | None = None
    with context.world.together():
        if context.world.main:
            # No checkpoint may be there before the lines of the log that it counts.
            context.log.sync()
            made = str(make_partial(context.directory.checkpoints, checkpoint_name(run.step)))
    partial = Path(context.world.first(made) or "")
    blocked = False
    with context.world.together():
        try:
            write_checkpoint(run, context, tensors, partial)
        except InTheWayError as error:
            if last:
                raise
            blocked = True
            context.reporter.say(f"{error} Training goes on to its next save.")
    if not context.world.any(blocked):
        run.saved = run.step


def write_checkpoint(run: Run, context: Context, tensors: dict[str, dict[str, Tensor]], partial: Path) -> None:
    """Write the checkpoint of the step reached in `partial`: the first process all but the shards of the others."""
    directory, world = context.directory.checkpoints, context.world
    if not world.main:
        write_shards(partial, tensors, world)
        return
    path = save_checkpoint(
        directory,
        step=run.step,
        config=context.config,
        tokenizer=context.source.tokenizer,
        data=context.source.identity,
        preflight_skipped=context.admission.skipped,
        log_lines=context.log.lines,
        switches=run.switches,
        tensors=tensors,
        world=world,
        partial=partial,
    )
    context.reporter.say(f"saved {path}")
    context.retention.add(run.step, path)
    context.retention.settle(context.validations, run.switches, context.config.train)


def bad_tensor(run: Run, tensors: dict[str, dict[str, Tensor]], world: World) -> Kill | None:
    """Return the kill for the first tensor that is not finite in any process, or None."""
    names = (
        name for file in tensors.values() for name, tensor in file.items() if not torch.isfinite(own_part(tensor)).all()
    )
    bad = world.first(next(names, None))
    return None if bad is None else non_finite(run.switches, run.step, "grad_norm", f"the tensor {bad}", None)

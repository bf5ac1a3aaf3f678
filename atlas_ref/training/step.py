"""One training step: forward, loss, backward, clipping, update; the state is handed on without its history.

Parameters, gradients, optimiser and memory state are fp32; `precision = "bf16"` only runs the forward pass under
autocast. What is drawn after the parameters are made (batches, dropout, exploration) is a function of seed, step and
row, so a run is determined by its config and its step count alone.
"""

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from atlas_ref.blocks.timeline import Marks
from atlas_ref.config import RunConfig
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.data.batch import Batch
from atlas_ref.functional.dropout import row_keys
from atlas_ref.memory.state import StateTree, join_rows
from atlas_ref.models.answers import Recursive
from atlas_ref.models.family import Output, Sheet
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.processes.merging import merge_telemetry
from atlas_ref.processes.parallel import bare, drop_zero_gradients, without_sync
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.clipping import (
    NonFiniteError,
    Sizes,
    held_by,
    norm_of_gradients,
    scale_gradients,
    share_of,
    total_norm,
)
from atlas_ref.training.optimiser import OuterOptimiser
from atlas_ref.training.schedule import learning_rate, polarisation
from atlas_ref.training.supervision import Share, explored, learn


class StepResult(NamedTuple):
    """What one update reports: the loss of its batch, the gradient norm before clipping, the new state, and the parts
    of what was minimised, by name (`watching.learning`). A recording has gathered what is measured in a `sheet`.

    State and telemetry of `output` are those of all rows of this process. Its logits are those of the last micro-batch
    alone: to hold all of them is what micro-batches avoid.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    output: Output
    parts: dict[str, float]
    sheet: Sheet | None = None


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on `device`; what lies in pinned memory is fetched beside what the host does."""
    return batch.map(lambda tensor: tensor.to(device, non_blocking=True))


def _handed_over(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on `device`, for which the host does not wait."""
    return tensor.to(device) if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def forward(
    model: nn.Module,
    batch: Batch,
    state: StateTree,
    precision: str,
    outer_step: int | None = None,
    penalised: bool = False,
    draws: Tensor | None = None,
) -> Output:
    """Run the model on a batch; `precision` is `fp32`, or `bf16` for autocast matrix products.

    `outer_step` is the number of updates made so far; None is the end of all schedules. `penalised` asks for the
    indecision of the gates, and `draws` are the numbers of the rows that dropout draws from; None leaves nothing out.
    """
    with torch.autocast(batch.tokens.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        output: Output = model(batch.tokens, state, marks_of_batch(batch, draws), outer_step, penalised)
    return output


def marks_of_batch(batch: Batch, draws: Tensor | None = None) -> Tensor | Marks:
    """Return the tokens that begin documents; of episodes, contexts and memories apart, and the floors of phases.

    What dropout draws from goes with them.
    """
    if batch.episode is None:
        return batch.reset if draws is None else Marks(batch.reset, batch.reset, None, draws)
    return Marks(batch.reset, batch.episode.memory, batch.episode.floor, draws)


class Worked(NamedTuple):
    """What the forward and backward pass of a step leave, beside the gradients in the parameters.

    `losses` [parts of the batch, numbers] has the loss of each part and what of it was minimised, by `names`; `output`
    is that of `StepResult`, but for its indecision, and `undecided` has that of each part. A recording has made
    `sizes` of the gradients too, and the `sheet` that the layers are measured by; these and the losses are on the host.
    """

    losses: Tensor
    names: tuple[str, ...]
    output: Output
    undecided: tuple[Tensor, ...]
    sizes: Sizes | None = None


class Replays(Protocol):
    """Steps that were recorded (`training.graphed`)."""

    def draws(self, batch: Batch, step: int) -> Tensor | None:
        """Return what `draws_of` returns."""

    def work(self, batch: Batch, state: StateTree, step: int, draws: Tensor | None) -> Worked | None:
        """Do the forward and backward pass of a step as it was recorded; None where it has to be done as it is."""

    def sheet(self) -> Sheet | None:
        """Return what was measured of the last step if it was recorded, on the host; None of any other."""

    def update(self, held: Mapping[str, nn.Parameter], share: float) -> bool:
        """Clip and update as it was recorded behind the last step; False where it has to be done as it is."""


def train_step(
    network: nn.Module,
    optimiser: OuterOptimiser,
    batch: Batch,
    state: StateTree,
    step: int,
    config: RunConfig,
    world: World = ALONE,
    replays: Replays | None = None,
) -> StepResult:
    """Make update `step` (0-based) in place and return its numbers with the detached new state.

    `batch` is the global one, `state` that of the rows of this process, and `network` what `parallel.wrap` returned.
    The loss is that of the task, a mean over what is scored in the global batch, however it is cut; where
    polarisation is on, what is minimised also has the indecision of the gates (`blocks.polarisation`). The gradient
    is scaled down to `max_norm` when longer. Raises NonFiniteError, before any parameter is changed and in all
    processes, when the loss or a gradient is not finite. `replays` saves launches and changes nothing else.
    """
    rate = learning_rate(step, config)
    # Before the pass, which the host waits for: nothing of it is behind.
    optimiser.set_rates(rate / config.optim.learning_rate)
    draws = draws_of(batch, step, config, world) if replays is None else replays.draws(batch, step)
    worked = None if replays is None else replays.work(batch, state, step, draws)
    if worked is None:
        optimiser.zero_grad()
        worked = work(network, batch, state, step, config, draws, world)
    loss, *parts = world.sums(*map(sum, zip(*worked.losses.tolist(), strict=True)))
    model = bare(network)
    held, largest, norm = worked.sizes or (held_by(model), None, total_norm(model.parameters()))
    drop_zero_gradients(held.values(), world, largest)
    if not math.isfinite(loss):
        raise NonFiniteError(step + 1, "loss", "the loss", loss)
    grad_norm = norm_of_gradients(held, step, world, norm)
    optimiser.agree(world)
    share = share_of(grad_norm, config.optim.max_norm)
    if replays is None or not replays.update(held, share):
        scale_gradients(held.values(), share)
        optimiser.move()
    output = worked.output._replace(indecision=_mean(worked.undecided, world))
    named = dict(zip(worked.names, parts, strict=True))
    # Behind the update: it was on its way while the host gave that out.
    return StepResult(loss, grad_norm, rate, output, named, None if replays is None else replays.sheet())


def draws_of(batch: Batch, step: int, config: RunConfig, world: World = ALONE) -> Tensor | None:
    """Return what the rows of this process draw in a step: what dropout draws from, or how far halting explores; None
    where there is neither, and no model has both.
    """
    rows, seed = len(batch.tokens), config.train.seed
    if config.leaves_out:
        return _handed_over(row_keys(seed, step, world.rows(rows), rows), batch.tokens.device)
    model = config.any_model
    if not isinstance(model, CognateConfig) or model.halting.kind == "none" or not model.halting.loss_weight:
        return None
    share = Share(world.rows(rows), rows, task_of(config.data).count(batch), seed, step)
    shape = (model.recursion.iterations, len(batch.tokens[share.rows]), batch.tokens.shape[1])
    return _handed_over(explored(model.halting, share, shape), batch.tokens.device)


def work(
    network: nn.Module,
    batch: Batch,
    state: StateTree,
    step: int,
    config: RunConfig,
    draws: Tensor | None,
    world: World = ALONE,
) -> Worked:
    """Leave the gradient of the global loss in the parameters, and return what there is to know of it.

    The rows of this process are run in `micro_batches` parts, one after another; `draws` are those of `draws_of`.
    """
    task = task_of(config.data)
    count = task.count(batch).clamp(min=1)
    mine = world.rows(len(batch.tokens))
    size = (mine.stop - mine.start) // config.train.micro_batches
    weight = polarisation(step, config)
    losses, outputs, names = [], [], ["supervised"]
    for first in range(mine.start, mine.stop, size):
        rows = slice(first, first + size)
        part = batch.map(itemgetter(rows))
        own = slice(first - mine.start, rows.stop - mine.start)
        before, drawn = state.rows(own), None if draws is None else draws[own]
        left_out, least = (drawn, None) if config.leaves_out else (None, drawn)
        with without_sync(network, last=rows.stop == mine.stop):
            output = forward(network, part, before, config.train.precision, step, weight > 0.0, left_out)
            share = Share(rows, len(batch.tokens), count, config.train.seed, step, least)
            loss, minimised, parts = learn(task, output, part, share)
            # The indecision of the batch is the mean over parts of equal size, and so is each part's share of it.
            if output.indecision is not None:
                parts["polarisation"] = weight * size / len(batch.tokens) * output.indecision
                minimised = minimised + parts["polarisation"]
            # The processes' gradients are averaged, not added.
            torch.autograd.backward(minimised * world.size)
        names = list(parts)
        losses.append(torch.stack([value.detach() for value in (loss, *parts.values())]))
        outputs.append(_without_history(output))
    merged = outputs[-1]._replace(
        state=join_rows([output.state for output in outputs]),
        telemetry=merge_telemetry([output.telemetry for output in outputs]),
    )
    undecided = tuple(output.indecision for output in outputs if output.indecision is not None)
    return Worked(torch.stack(losses), tuple(names), merged, undecided)


def _without_history(output: Output) -> Output:
    indecision = None if output.indecision is None else output.indecision.detach()
    kept: Output = output._replace(logits=output.logits.detach(), state=output.state.detach(), indecision=indecision)
    return kept._replace(recursion=None) if isinstance(kept, Recursive) else kept


def _mean(parts: Sequence[Tensor], world: World) -> Tensor | None:
    """Return the mean of a number that every part of every process has, or None where none has it."""
    return world.gather(torch.stack(list(parts))).mean() if parts else None

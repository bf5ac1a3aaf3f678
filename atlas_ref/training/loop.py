"""The training loop: from a config and a run directory to a trained model, or from a checkpoint on.

`step` counts finished updates: update number n (1-based) uses `batch(n - 1)` and writes the metrics line of step n.
What happens at a step depends on its number alone: a resumed run leaves weights and log of one that never stopped.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.ahead import batches
from atlas_ref.data.batch import BatchSource
from atlas_ref.models.family import Measurements
from atlas_ref.places import prove_writable
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.processes.heap import keep_freed_memory
from atlas_ref.processes.merging import merge_measurements
from atlas_ref.storage.checkpoint import Checkpoint
from atlas_ref.storage.files import write_json
from atlas_ref.storage.lock import hold, refuse_if_held
from atlas_ref.storage.metrics_log import MetricsLog
from atlas_ref.storage.retention import VALIDATION, Retention, improves, judged, out_of_patience, read_validations
from atlas_ref.storage.run_directory import Admission, RunDirectory, check_place
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.arithmetic import in_tf32, without_denormals
from atlas_ref.training.border import cross
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.context import Context
from atlas_ref.training.epochs import end_of_epoch, place_in_curriculum
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.generalising import watch_generalising
from atlas_ref.training.retrieval import watch_retrieval
from atlas_ref.training.run import Run, check_size, new_run, open_data, refuse_other_data, restore, select_device
from atlas_ref.training.samples import sample_when_due
from atlas_ref.training.saving import killed, save
from atlas_ref.training.schedule import change_of_plan
from atlas_ref.training.starting import check_start, prepare
from atlas_ref.training.step import StepResult, to_device, train_step
from atlas_ref.watching.estimate import FirstSteps
from atlas_ref.watching.grokking import read_measured
from atlas_ref.watching.kill_switches import check, non_finite, unsound_end
from atlas_ref.watching.learning import learning
from atlas_ref.watching.monitor import log_entries, measure_layers
from atlas_ref.watching.reporting import Reporter
from atlas_ref.watching.sinks import broadcast, check_sinks
from atlas_ref.watching.speed import Speed
from atlas_ref.watching.summary import sizes, summarise

TOLD = ("accuracy", "perplexity", "halting_steps")
"""How names of a judgement end that the log has beside the loss."""


class Outcome(NamedTuple):
    """How a call of `train` ended: the step reached, whether it was told to stop, and the summary so far."""

    step: int
    interrupted: bool
    summary: dict[str, float | int | str | None]


class Ready(NamedTuple):
    """What has proved usable for a run, while nothing of it was written or computed yet."""

    config: RunConfig
    directory: RunDirectory
    checkpoint: Checkpoint | None
    source: BatchSource
    device: torch.device
    world: World
    over_unsaved: bool

    @property
    def digest(self) -> str:
        """The checksum of all that training and validation read."""
        return self.source.identity.digest

    def check_directory(self) -> None:
        """Raise UserError unless the run may start in its directory as that is now."""
        check_start(self.directory, self.checkpoint, self.config, over_unsaved=self.over_unsaved)


def get_ready(
    config: RunConfig,
    directory: RunDirectory,
    checkpoint: Checkpoint | None,
    *,
    over_unsaved: bool,
    world: World = ALONE,
) -> Ready:
    """Return a run that may start, afresh or from `checkpoint`; raise UserError for what the user must mend first.

    `over_unsaved` lets a run that ended before its first checkpoint begin again in its directory.
    """
    world.check(config)
    check_place(directory.path)
    refuse_if_held(directory.lock)
    check_start(directory, checkpoint, config, over_unsaved=over_unsaved)
    if checkpoint is not None:
        check_size(checkpoint)
    if world.main:
        prove_writable(directory.path, "--out")
    check_sinks(config.train)
    torch.set_num_threads(config.train.threads)
    keep_freed_memory()
    device = world.device(select_device(config.train.device))
    source = open_data(config, checkpoint)
    if checkpoint is not None:
        refuse_other_data(source, checkpoint)
    return Ready(config, directory, checkpoint, source, device, world, over_unsaved)


@without_denormals()
def train(ready: Ready, admission: Admission, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Train to the last step, and return how it ended; `admission` says why the run may start and is kept with it.

    `stop` is asked before each step; when it says yes the step reached is saved and the outcome is `interrupted`.
    Nothing is written before the tensors of the checkpoint have proved usable too. Raises UserError for what the user
    can mend and KilledError when a kill switch fires, after its report and before a checkpoint of a bad step; also,
    after a checkpoint of the last one, when the run ends worse than it began.
    """
    with in_tf32(_in_tf32(ready)):
        return _train(ready, admission, reporter, stop)


def _in_tf32(ready: Ready) -> bool:
    """Return whether all products of float32 of the run, not of the memory alone, are of tf32."""
    return ready.config.asks_for_tf32 and ready.device.type == "cuda"


def _train(ready: Ready, admission: Admission, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Do what `train` does."""
    started = time.monotonic()
    config, directory, checkpoint, world = ready.config, ready.directory, ready.checkpoint, ready.world
    # A checkpoint at the border of the stages is one of the first.
    run = new_run(config, ready.device, world, 0 if checkpoint is None else checkpoint.step - 1)
    with world.together():
        if checkpoint is not None:
            restore(run, checkpoint)
    parameters = int(sizes(run.model)["train/parameters"])
    with ExitStack() as held:
        with world.together():
            if world.main:
                directory.path.mkdir(parents=True, exist_ok=True)
                held.enter_context(hold(directory.lock, reporter.say))
                # Another run may have begun, or ended, here since it was first looked at: preflight takes minutes.
                ready.check_directory()
                prepare(directory, checkpoint, config, admission, reporter.say)
        shared = f" in {world.size} processes ({config.train.parallel})" if world.size > 1 else ""
        by = run.model.runs_by(ready.device) + (", products of float32 in tf32" if _in_tf32(ready) else "")
        reporter.say(f"{parameters:,} parameters on {ready.device}{by}{shared}; writing to {directory.path}")
        if checkpoint is not None and (line := change_of_plan(run.step, checkpoint.config, config)):
            reporter.say(line)
        if run.step == config.last_step:
            reporter.say(f"step {run.step} of {config.last_step} is reached already: nothing is left to train")
        interrupted = advance_with_log(run, ready, admission, reporter, stop)
        early = run.step < config.last_step and not interrupted
        summary = summarise(directory, run.step, parameters, time.monotonic() - started, admission, early)
        with world.together():
            if world.main and not interrupted:
                write_json(directory.summary, summary)
    return Outcome(run.step, interrupted, summary)


def advance_with_log(
    run: Run, ready: Ready, admission: Admission, reporter: Reporter, stop: Callable[[], bool]
) -> bool:
    """Mend what a crash left among the checkpoints, open the log and go on; return whether the run was stopped."""
    config, directory, world = ready.config, ready.directory, ready.world
    validations = read_validations(directory.metrics, config.train.best)
    retention = Retention(directory.checkpoints, reporter.say)
    with world.together():
        if world.main:
            retention.begin()
            retention.settle(validations, run.switches, config.train)
    # The first process alone writes, and feeds the sinks.
    heard = broadcast(config, directory, run.step, reporter) if world.main else nullcontext(reporter)
    given = batches(ready.source, ready.device, alone=world.size == 1)
    kept = MetricsLog(directory.metrics if world.main else Path(os.devnull))
    with kept as log, heard as listener, given as batch:
        context = Context(
            config=config,
            source=ready.source,
            batch=batch,
            device=ready.device,
            world=world,
            directory=directory,
            admission=admission,
            log=log,
            reporter=listener,
            speed=Speed.after(directory.metrics),
            validations=validations,
            measured=read_measured(directory.metrics),
            retention=retention,
        )
        return advance(run, context, stop)


def advance(run: Run, context: Context, stop: Callable[[], bool]) -> bool:
    """Make steps until the last one, until `stop` says so, or until patience is over; return whether it was stopped."""
    first_steps = FirstSteps()
    last, settings = context.config.last_step, context.config.train
    while run.step < last and not out_of_patience(context.validations, settings.patience):
        if context.world.any(stop()):
            save(run, context, last=True)
            return True
        for line in filter(None, (*cross(run, context), run.news())):
            context.reporter.say(line)
        began = time.monotonic()
        result, layers = update(run, context)
        if promise := first_steps.after(time.monotonic() - began, last - run.step, context.device):
            context.reporter.say(promise)
        values = measure(run, context, result, layers)
        if values:
            context.log.write(run.step, values)
            context.reporter.on_metrics(run.step, values)
        sample_when_due(run, context)
        better = settings.keep_best and improves(context.validations, run.step)
        if better or context.is_due(run.step, settings.save_interval):
            save(run, context, last=run.step == last)
    if run.step < last:
        why = f"the last {settings.patience} validations were none better: the run ends at step {run.step}"
        context.reporter.say(why)
        save(run, context, last=True)
    if kill := unsound_end(run.switches, run.step, context.config):
        raise killed(context, run.step, [kill], [])
    return False


def update(run: Run, context: Context) -> tuple[StepResult, tuple[Measurements, ...]]:
    """Make one step on the batch of its number and measure every layer; raise KilledError when a kill switch fires."""
    began = time.monotonic()
    given = context.batch(run.step)
    replays = run.replays(context.config)
    if replays is not None:
        replays.expect(given)
    batch = to_device(given, context.device)
    trained = (run.network, run.optimiser, batch, run.state, run.step, context.config, context.world)
    try:
        result = train_step(*trained, replays)
    except NonFiniteError as error:
        kill = non_finite(run.switches, run.step + 1, error.metric, error.subject, error.value)
        raise killed(context, run.step + 1, [kill], []) from error
    run.step, run.state = run.step + 1, result.output.state
    layers = watch(run, context, result)
    context.speed.add(batch.tokens.numel(), time.monotonic() - began)
    context.reporter.on_step(run.step, result.loss, context.speed.per_second())
    return result, layers


def watch(run: Run, context: Context, result: StepResult) -> tuple[Measurements, ...]:
    """Measure every layer after the step reached, and ask the kill switches."""
    layers = merge(measure_layers(result.output, context.config.any_model, result.sheet), context.world)
    totals = {"loss": result.loss, "grad_norm": result.grad_norm}
    run.switches, kills = check(run.switches, run.step, totals, layers, context.config)
    if kills:
        raise killed(context, run.step, kills, layers)
    return layers


def merge(layers: tuple[Measurements, ...], world: World) -> tuple[Measurements, ...]:
    """Return the tables of the whole batch, the same in all processes, from those of the rows of each."""
    if world.size == 1:
        return layers
    tables = world.gather(torch.tensor([value for table in layers for value in table.values()], dtype=torch.float64))
    merged = merge_measurements(tables, layers)
    return tuple(dict(zip(table, values.tolist(), strict=True)) for table, values in zip(layers, merged, strict=True))


def measure(run: Run, context: Context, result: StepResult, layers: tuple[Measurements, ...]) -> dict[str, float]:
    """Return the line of the log that is due, or nothing; a first step, also of a stage, and the last have one."""
    settings = context.config.train
    values: dict[str, float] = {}
    if context.begins(run.step) or context.is_due(run.step, settings.log_interval):
        values |= learning(result.loss, result.parts, result.grad_norm, result.learning_rate)
        if context.begins(run.step) or context.config.stage2.steps:
            values |= sizes(run.model)
        if context.config.stage2.steps:
            values["train/stage"] = 1.0 if run.step <= settings.max_steps else 2.0
        values |= place_in_curriculum(run, context)
        values |= context.speed.take(context.config, context.device, context.world)
        if result.output.indecision is not None:
            values["train/polarisation"] = result.output.indecision.item()
        values |= log_entries(layers)
    if context.is_due(run.step, settings.eval_interval):
        with run.optimiser.averaged():
            how = settings.eval_batches, settings.precision, run.step, context.world
            found = evaluate(run.model, task_of(context.config.data), context.source, *how)
            generalising = watch_generalising(run, context, found["accuracy"])
            retrieving = watch_retrieval(run, context)
        values |= {VALIDATION: found["loss"], **{f"val/{name}": x for name, x in found.items() if name.endswith(TOLD)}}
        values |= generalising | retrieving
        if (score := judged(values, settings.best)) is not None:
            context.validations[run.step] = score
    return values | end_of_epoch(run, context)

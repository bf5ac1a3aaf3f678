"""The training loop: from a config and a run directory to a trained model, or from a checkpoint on.

`step` counts finished updates: update number n (1-based) uses `batch(n - 1)` and writes the metrics line of step n.
What happens at a step depends on its number alone, never on where the process started, so a run that was stopped and
resumed leaves the same weights and the same log as one that was not.
"""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import BatchSource
from atlas_ref.errors import UserError
from atlas_ref.training.checkpoint import Checkpoint, save_checkpoint
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.files import write_json
from atlas_ref.training.kill_report import report_kill
from atlas_ref.training.kill_switches import Kill, check, non_finite
from atlas_ref.training.metrics import MetricsLog, read_metrics
from atlas_ref.training.monitor import Measurements, log_entries, measure_layers
from atlas_ref.training.reporting import Reporter
from atlas_ref.training.run import Run, data_digest, new_run, open_data, restore, select_device
from atlas_ref.training.run_directory import Admission, RunDirectory, check_new, check_resumed, prepare
from atlas_ref.training.sinks import broadcast, check_sinks
from atlas_ref.training.step import NonFiniteError, StepResult, to_device, train_step


class Outcome(NamedTuple):
    """How a call of `train` ended: the step reached, whether it was told to stop, and the summary so far."""

    step: int
    interrupted: bool
    summary: dict[str, float | int | str | None]


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
    """What stays the same from step to step."""

    config: RunConfig
    source: BatchSource
    digest: str
    device: torch.device
    directory: RunDirectory
    admission: Admission
    log: MetricsLog
    reporter: Reporter
    speed: Speed

    def is_due(self, step: int, interval: int) -> bool:
        """Return whether something that happens every `interval` steps, and after the last, happens after `step`."""
        return step % interval == 0 or step == self.config.train.max_steps


class Ready(NamedTuple):
    """What has proved usable for a run, while nothing of it was written or computed yet."""

    config: RunConfig
    directory: RunDirectory
    checkpoint: Checkpoint | None
    source: BatchSource
    digest: str
    device: torch.device


def get_ready(
    config: RunConfig, directory: RunDirectory, checkpoint: Checkpoint | None, *, over_unsaved: bool
) -> Ready:
    """Return a run that may start, afresh or from `checkpoint`; raise UserError for what the user must mend first.

    `over_unsaved` lets a fresh start replace a run that ended before its first checkpoint.
    """
    if checkpoint is None:
        check_new(directory, over_unsaved=over_unsaved)
    else:
        check_resumed(directory, checkpoint, config)
    check_sinks(config.train)
    torch.set_num_threads(config.train.threads)
    device = select_device(config.train.device)
    source = open_data(config, checkpoint)
    digest = data_digest(source)
    if checkpoint is not None and checkpoint.data_digest != digest:
        raise UserError(f"{checkpoint.path}: the data are not those that this run was trained on.")
    return Ready(config, directory, checkpoint, source, digest, device)


def train(ready: Ready, admission: Admission, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Train to `max_steps`, and return how it ended; `admission` says why the run may start and is kept with it.

    `stop` is asked before each step; when it says yes the step reached is saved and the outcome is `interrupted`.
    Nothing is written before the tensors of the checkpoint have proved usable too. Raises UserError for what the user
    can mend and KilledError when a kill switch fires, after its report and before a checkpoint of a bad step.
    """
    started = time.monotonic()
    config, directory, checkpoint = ready.config, ready.directory, ready.checkpoint
    run = new_run(config, ready.device)
    if checkpoint is not None:
        restore(run, checkpoint)
    prepare(directory, checkpoint, config, admission)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    reporter.say(f"{parameters:,} parameters on {ready.device}; writing to {directory.path}")
    if run.step == config.train.max_steps:
        reporter.say(f"step {run.step} of {config.train.max_steps} is reached already: nothing is left to train")
    with MetricsLog(directory.metrics) as log, broadcast(config, directory, run.step, reporter) as heard:
        context = Context(config, ready.source, ready.digest, ready.device, directory, admission, log, heard, Speed())
        interrupted = advance(run, context, stop)
    summary = summarise(directory, run.step, parameters, time.monotonic() - started, admission)
    if not interrupted:
        write_json(directory.summary, summary)
    return Outcome(run.step, interrupted, summary)


def advance(run: Run, context: Context, stop: Callable[[], bool]) -> bool:
    """Make steps until the last one or until `stop` says so; return whether it was stopped."""
    while run.step < context.config.train.max_steps:
        if stop():
            save(run, context)
            return True
        result, layers = update(run, context)
        values = measure(run, context, result, layers)
        if values:
            context.log.write(run.step, values)
            context.reporter.on_metrics(run.step, values)
        if context.is_due(run.step, context.config.train.save_interval):
            save(run, context)
    return False


def update(run: Run, context: Context) -> tuple[StepResult, tuple[Measurements, ...]]:
    """Make one step on the batch of its number and measure every layer; raise KilledError when a kill switch fires."""
    began = time.monotonic()
    batch = to_device(context.source.batch(run.step), context.device)
    try:
        result = train_step(run.model, run.optimiser, batch, run.state, run.step, context.config)
    except NonFiniteError as error:
        kill = non_finite(run.switches, run.step + 1, error.metric, error.subject, error.value)
        raise report_kill(context.directory, run.step + 1, [kill], []) from error
    run.step, run.state = run.step + 1, result.output.state
    layers = watch(run, context, result)
    context.speed.seconds += time.monotonic() - began
    context.speed.tokens += batch.tokens.numel()
    context.reporter.on_step(run.step, result.loss, context.speed.per_second())
    return result, layers


def watch(run: Run, context: Context, result: StepResult) -> tuple[Measurements, ...]:
    """Measure every layer after the step reached, and ask the kill switches."""
    layers = measure_layers(result.output, context.config.model)
    totals = {"loss": result.loss, "grad_norm": result.grad_norm}
    run.switches, kills = check(run.switches, run.step, totals, layers, context.config.kill_switches)
    if kills:
        raise report_kill(context.directory, run.step, kills, layers)
    return layers


def measure(run: Run, context: Context, result: StepResult, layers: tuple[Measurements, ...]) -> dict[str, float]:
    """Return the line of the log that the step reached is due, or nothing; the first and last step always have one."""
    settings = context.config.train
    values: dict[str, float] = {}
    if run.step == 1 or context.is_due(run.step, settings.log_interval):
        values["train/loss"] = result.loss
        values["train/grad_norm"] = result.grad_norm
        values["train/lr"] = result.learning_rate
        values["train/tokens_per_second"] = context.speed.per_second()
        values |= log_entries(layers)
        context.speed.seconds, context.speed.tokens = 0.0, 0
    if context.is_due(run.step, settings.eval_interval):
        found = evaluate(run.model, context.source, settings.eval_batches, settings.precision, run.step)
        values |= {"val/loss": found["loss"], "val/accuracy": found["accuracy"]}
    return values


def save(run: Run, context: Context) -> None:
    """Write a checkpoint of the step that the run has reached, unless there is one or nothing was learnt yet.

    Raises KilledError instead when any tensor of it is not finite: an update can overflow after a finite gradient.
    """
    if run.step == run.saved:
        return
    tensors = run.tensors()
    if kill := bad_tensor(run, tensors):
        raise report_kill(context.directory, run.step, [kill], [])
    context.log.sync()
    path = save_checkpoint(
        context.directory.checkpoints,
        step=run.step,
        config=context.config,
        tokenizer=tokenizer.to_json() if (tokenizer := context.source.tokenizer) else None,
        data_digest=context.digest,
        preflight_skipped=context.admission.skipped,
        switches=run.switches,
        tensors=tensors,
    )
    run.saved = run.step
    context.reporter.say(f"saved {path}")


def bad_tensor(run: Run, tensors: dict[str, dict[str, Tensor]]) -> Kill | None:
    """Return the kill for the first tensor that is not finite, or None."""
    for file in tensors.values():
        for name, tensor in file.items():
            if not torch.isfinite(tensor).all():
                return non_finite(run.switches, run.step, "grad_norm", f"the tensor {name}", None)
    return None


def summarise(
    directory: RunDirectory, step: int, parameters: int, seconds: float, admission: Admission
) -> dict[str, float | int | str | None]:
    """Return the outcome: losses from the log of the whole run; seconds and peak memory of this process."""
    records = read_metrics(directory.metrics)
    train_losses = [record["train/loss"] for record in records if "train/loss" in record]
    val_losses = [record["val/loss"] for record in records if "val/loss" in record]
    return {
        "steps": step,
        "parameters": parameters,
        "first_train_loss": train_losses[0] if train_losses else None,
        "last_train_loss": train_losses[-1] if train_losses else None,
        "val_loss": val_losses[-1] if val_losses else None,
        "seconds": round(seconds, 3),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "preflight_skipped": admission.skipped,
    }


def peak_rss_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)

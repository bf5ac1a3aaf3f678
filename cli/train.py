"""`atlas train`: from a preset or a TOML file to a run directory, and on from a checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from atlas_ref.wording import counted, quoted
from cli.admission import admit, checked_reason, skip_line
from cli.console import say
from cli.facts import say_facts
from cli.interrupt import StopRequest
from cli.overrides import DataKey, DataPath, Overrides, as_overrides, data_fields, refuse_contradictions
from cli.plan import Plan, find_place, make_plan
from cli.processes import decide_admission, decide_place, one_command
from cli.specialisations import compare, places_of_all
from cli.streams import output_may_end
from cli.train_options import (
    AllSpecialisations,
    ConfigName,
    Device,
    MaxSteps,
    Out,
    Precision,
    Resume,
    Seed,
    SkipPreflight,
    Tensorboard,
    Threads,
    Wandb,
    Watch,
    WithoutMemory,
)
from cli.watch import check_watch

if TYPE_CHECKING:
    from atlas_ref.processes.distributed import World
    from atlas_ref.storage.run_directory import Admission, RunDirectory
    from atlas_ref.training.loop import Outcome, Ready

KILLED_EXIT_CODE = 4
GOES_ON = "training goes on; its log is metrics.jsonl in the run directory"


class Asked(NamedTuple):
    """What the command line asks for."""

    config: str | None
    changes: list[str]
    max_steps: int | None
    out: Path | None
    resume: str | None
    reason: str | None
    watch: bool


def train(
    config: ConfigName = None,
    max_steps: MaxSteps = None,
    seed: Seed = None,
    device: Device = None,
    threads: Threads = None,
    precision: Precision = None,
    data: DataPath = None,
    data_key: DataKey = None,
    disable_memory: WithoutMemory = False,
    tensorboard: Tensorboard = None,
    wandb: Wandb = None,
    watch: Watch = False,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = None,
    skip_preflight: SkipPreflight = None,
    all_specialisations: AllSpecialisations = False,
) -> None:
    """Train a model, once its gates have passed.

    Gates run first where no certificate says that they passed; exit code 3 when one does not.
    Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 save a checkpoint; the exit code is 128 plus the signal's number. With
    torchrun, several processes train one model.
    """
    fields = {
        "train.seed": seed,
        "train.device": device,
        "train.threads": threads,
        "train.precision": precision,
        **data_fields(data, data_key),
        "model.disable_memory": disable_memory or None,
        "train.tensorboard": tensorboard,
        "train.wandb": wandb,
    }
    reason = checked_reason(skip_preflight)
    if watch:
        check_watch("--watch")
    refuse_contradictions(overrides, {**fields, "train.max_steps": max_steps})
    asked = Asked(config, [*(overrides or ()), *as_overrides(fields)], max_steps, out, resume, reason, watch)
    if not all_specialisations:
        train_one(asked)
        return
    places = places_of_all(config, resume, out, asked.changes)
    for name, place in places.items():
        say(f"{name} -> {place}")
        train_one(asked._replace(config=name, out=place))
    compare(places)


def train_one(asked: Asked) -> None:
    """Train what is asked for and say how it ended."""
    with output_may_end(GOES_ON) as lost_output, one_command() as world:
        ready = agreed(asked, world)
        with followed(ready) if asked.watch and world.main else nullcontext():
            admission = decide_admission(world, partial(admit, ready, asked.reason))
            with StopRequest(partial(newest_step, ready.directory) if world.main else None) as stop:
                run(ready, admission, stop, lost_output)


@contextmanager
def followed(ready: "Ready") -> Iterator[None]:
    """Serve the page of the run, in a process of its own, from its gates to its end, and say where."""
    from cli.dashboard.beside import beside

    with beside(ready.directory.path) as address:
        say(f"watch it at {address}")
        yield


def agreed(asked: Asked, world: "World") -> "Ready":
    """Return the run that all processes were asked for; raise CommonError where they differ."""
    from atlas_ref.storage.run_directory import versions
    from atlas_ref.training.agreement import agree, agree_on_data, facts_of_run

    # What becomes no field of the config; all that does is compared there.
    options = {"--out": asked.out and str(asked.out), "--resume": asked.resume, "--skip-preflight": asked.reason}
    agree(world, {**versions(), **options})
    place = decide_place(world, partial(find_place, asked.config, asked.changes, asked.out, asked.resume))
    with world.together():
        plan = make_plan(place, asked.config, asked.changes, asked.max_steps)
    agree(world, facts_of_run(*plan))
    with world.together():
        ready = get_ready(plan, over_unsaved=asked.resume == "auto", world=world)
    agree_on_data(world, ready.source.identity)
    if place.note:
        say(place.note)
    for warning in plan.config.warnings():
        say(f"warning: {warning}")
    say_facts(ready)
    return ready


def newest_step(directory: "RunDirectory") -> int | None:
    """Return the last step that is saved, None before the first."""
    from atlas_ref.storage.checkpoint import saved_steps

    return max(saved_steps(directory.checkpoints), default=None)


def get_ready(plan: Plan, *, over_unsaved: bool, world: "World") -> "Ready":
    """Return the run that was planned, once everything it needs has proved usable."""
    from atlas_ref.storage.run_directory import RunDirectory
    from atlas_ref.training import loop

    return loop.get_ready(
        plan.config, RunDirectory(plan.directory), plan.checkpoint, over_unsaved=over_unsaved, world=world
    )


def run(ready: "Ready", admission: "Admission", stop: StopRequest, lost_output: Callable[[], str | None]) -> None:
    """Train and say how it ended; where that was lost, env.json says so."""
    from atlas_ref.training.loop import train as train_model
    from atlas_ref.watching.kill_report import KilledError
    from cli.progress import make_reporter

    first_step = ready.checkpoint.step if ready.checkpoint else 0
    killed: KilledError | None = None
    try:
        with make_reporter(first_step, ready.config.last_step) as reporter:
            outcome = train_model(ready, admission, reporter, stop)
    except KilledError as error:
        killed = error
    if ready.world.main and (why := lost_output()) is not None:
        ready.directory.note(output_lost=why)
    if killed is not None:
        say(f"Error: {killed}", err=True)
        raise typer.Exit(KILLED_EXIT_CODE) from killed
    conclude(ready, admission, outcome, stop)


def conclude(ready: "Ready", admission: "Admission", outcome: "Outcome", stop: StopRequest) -> None:
    """Say how training ended."""
    directory = ready.directory.path
    if outcome.interrupted:
        say(f"interrupted after step {outcome.step}; go on with: atlas train --resume auto --out {quoted(directory)}")
        raise typer.Exit(stop.exit_code)
    if admission.skipped is not None:
        say(skip_line(admission.skipped))
    first, last, validation = (outcome.summary[key] for key in ("first_train_loss", "last_train_loss", "val_loss"))
    say(
        f"done: {counted(outcome.step, 'step')} in {outcome.summary['seconds']:.0f} s; "
        f"training loss {first:.4f} -> {last:.4f}, validation loss {validation:.4f}; see {directory}"
    )
    if ready.source.tokenizer is not None:
        say(f"sample from it with: atlas generate {quoted(directory)}")

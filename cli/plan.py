"""What `atlas train` is asked for: where to train, from which checkpoint, and with which config.

A run that goes on takes its config from where it is: from its checkpoint, or from its config.toml when it was stopped
before its first checkpoint. Options change it, where a run may be changed, and never put another model in its place.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from atlas_ref.errors import UserError

if TYPE_CHECKING:
    from atlas_ref.config import RunConfig
    from atlas_ref.storage.checkpoint import Checkpoint

DEFAULT_CONFIG = "tiny"
MOST_STEPS = 10**9


class Place(NamedTuple):
    """Where to train, from which checkpoint, and the config.toml there of a run that was stopped before its first.

    `note` says what is done where there is no checkpoint.
    """

    directory: Path
    checkpoint: "Checkpoint | None"
    unsaved: Path | None
    note: str | None = None


class Plan(NamedTuple):
    """What to train, where, and from which checkpoint."""

    config: "RunConfig"
    directory: Path
    checkpoint: "Checkpoint | None"


def find_place(config: str | None, overrides: list[str], out: Path | None, resume: str | None) -> Place:
    """Return where the options ask to train; raise UserError for a place that does not exist or is another's."""
    from atlas_ref.storage.checkpoint import find_checkpoint

    if resume is None or resume == "auto":
        used, free = (
            default_directories(DEFAULT_CONFIG if config is None else config, overrides) if out is None else (out, out)
        )
        if resume is None:
            return Place(free, None, None)
        return place_to_go_on(used or free, named=config is not None or out is None)
    checkpoint = find_checkpoint(Path(resume))
    directory = out or checkpoint.run_directory
    if directory is None:
        raise UserError(f"{checkpoint.path}: is not inside a run directory; name one to go on in with --out.")
    return Place(directory, checkpoint, None)


def place_to_go_on(path: Path, *, named: bool) -> Place:
    """Return the newest checkpoint of a run directory, or how its run began when it was stopped before its first one.

    A new run begins only where its config is `named`: a directory that is empty or misspelt says nothing of the model.
    """
    from atlas_ref.storage.checkpoint import find_checkpoint
    from atlas_ref.storage.run_directory import RunDirectory
    from atlas_ref.training.starting import unsaved_run

    directory = RunDirectory(path)
    newest = directory.newest_checkpoint()
    if newest is not None:
        return Place(path, newest, None)
    found = unsaved_run(directory)
    own = directory.config if found and found.config else None
    if found and found.origin:
        note = f"{path} holds no checkpoint yet: going on from {found.origin}, from which it branched off"
        return Place(path, find_checkpoint(found.origin), own, note)
    if own is None and not named:
        raise UserError(f"{path}: holds no run to go on with; give --config to start one there.")
    return Place(path, None, own, f"{path} holds no checkpoint: starting from the beginning")


def make_plan(place: Place, config: str | None, overrides: list[str], max_steps: int | None) -> Plan:
    """Return what to train: the config that was named, or else that of the run that goes on, with its changes."""
    from atlas_ref.config import load_config, parse_config

    fresh = place.checkpoint is None and place.unsaved is None
    changed = overrides if max_steps is None else [*overrides, f"train.max_steps={max_steps}"]
    if config is not None or fresh:
        chosen = named_config(
            DEFAULT_CONFIG if config is None else config, overrides, max_steps, say=typer.echo if fresh else None
        )
    elif place.unsaved is not None:
        chosen = load_config(str(place.unsaved), changed)
    elif place.checkpoint is not None:
        chosen = parse_config(place.checkpoint.config.model_dump(), str(place.checkpoint.path), changed)
    return Plan(chosen, place.directory, place.checkpoint)


def named_config(
    name: str, overrides: list[str], max_steps: int | None, say: Callable[[str], None] | None
) -> "RunConfig":
    """Return a config by its name; a run shorter than its warm-up is all warm-up, which `say` is told."""
    from atlas_ref.config import load_config

    if max_steps is None:
        return load_config(name, overrides)
    warmup = load_config(name, [*overrides, f"train.max_steps={MOST_STEPS}"]).optim.warmup_steps
    steps = [f"train.max_steps={max_steps}"]
    if warmup > max_steps:
        if say:
            say(f"optim.warmup_steps is lowered from {warmup} to {max_steps}, the number of steps")
        steps.append(f"optim.warmup_steps={max_steps}")
    return load_config(name, [*overrides, *steps])


def default_directories(config: str, overrides: list[str]) -> tuple[Path | None, Path]:
    """Return the newest of runs/CONFIG-SEED, runs/CONFIG-SEED-2, ... that exists, and the first that is free."""
    from atlas_ref.config import load_config

    seed = load_config(config, [*overrides, f"train.max_steps={MOST_STEPS}"]).train.seed
    name = f"{Path(config).stem}-{seed}"
    used, free, number = None, Path("runs", name), 1
    while free.exists():
        number += 1
        used, free = free, Path("runs", f"{name}-{number}")
    return used, free

"""How a run begins in its directory, afresh or from a checkpoint: what may lie there, and what is written first.

A directory belongs to a run by what its files say, not by their names: env.json is a list of starts, config.toml a
config of this version, metrics.jsonl a log. env.json is written before everything else, so that a start that is killed
at any place can be told from a directory of somebody else, and a branch from a run of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from atlas_ref.config import RunConfig, load_config, to_toml
from atlas_ref.config.changes import refuse_changes, refuse_other_border
from atlas_ref.errors import UserError
from atlas_ref.places import nearest_place
from atlas_ref.reading import opened, read_json
from atlas_ref.storage.checkpoint import Checkpoint, saved_steps
from atlas_ref.storage.files import write_atomically, write_json
from atlas_ref.storage.metrics_log import last_step, read_kept, rewrite_metrics
from atlas_ref.storage.run_directory import Admission, RunDirectory, environment
from atlas_ref.training.samples import keep_samples
from atlas_ref.watching.kill_report import KillReport

NEW_OR_EMPTY = "the run directory must be new or empty"
LOG_BEGINS = b'{"step"'


class Unsaved(NamedTuple):
    """A run that ended before its first checkpoint.

    `config` is None when not even that was written, and `origin` the checkpoint that it branched off from, None for a
    run that began at its first step.
    """

    config: RunConfig | None
    origin: Path | None


def unsaved_run(directory: RunDirectory) -> Unsaved | None:
    """Return what is known of the run in a directory without checkpoints, None for one that is free for a new run.

    Raises UserError for a directory that no run made, and for a run whose checkpoints were taken away.
    """
    if is_free(directory):
        return None
    refuse_foreign(directory)
    starts = directory.starts()
    config = _own_config(directory) if directory.config.exists() else None
    if not starts and config is None:
        name = min(entry.name for entry in directory.path.iterdir() if entry != directory.lock)
        raise UserError(f"{directory.path}: holds {name}, but neither config.toml nor env.json; {NEW_OR_EMPTY}.")
    _refuse_foreign_log(directory)
    _refuse_lost_checkpoints(directory, starts[-1]["first_step"] if starts else 1, config)
    origin = starts[-1].get("checkpoint") if starts else None
    return Unsaved(config, None if origin is None else Path(origin))


def is_free(directory: RunDirectory) -> bool:
    """Return whether a directory does not exist or holds no more than a certificate; raise UserError for a file."""
    path, nearest = directory.path, nearest_place(directory.path)
    if not nearest.is_dir():
        raise UserError(f"{nearest}: is no directory; {NEW_OR_EMPTY}.")
    half_a_start = directory.environment.with_name(f".{directory.environment.name}.partial")
    free = (directory.preflight, directory.lock, half_a_start)
    return not path.exists() or all(entry in free for entry in path.iterdir())


def refuse_foreign(directory: RunDirectory) -> None:
    """Raise UserError when the directory holds a file with a name that no run gives."""
    if unknown := directory.unknown_files():
        raise UserError(f"{directory.path}: holds {unknown[0]}, which no run wrote; {NEW_OR_EMPTY}.")


def check_start(
    directory: RunDirectory, checkpoint: Checkpoint | None, config: RunConfig, *, over_unsaved: bool
) -> None:
    """Raise UserError unless the run may begin in the directory as that is now, afresh or from `checkpoint`."""
    if checkpoint is None:
        check_new(directory, config, over_unsaved=over_unsaved)
    else:
        check_resumed(directory, checkpoint, config, over_unsaved=over_unsaved)
    directory.starts()
    _earlier_kill(directory)


def check_new(
    directory: RunDirectory, config: RunConfig, checkpoint: Checkpoint | None = None, *, over_unsaved: bool
) -> None:
    """Raise UserError unless a new run, or a branch from `checkpoint`, may begin in the directory: a free one.

    With `over_unsaved` it may also hold this run, or branch, when that ended before its first checkpoint.
    """
    if is_free(directory):
        return
    refuse_foreign(directory)
    found = None if saved_steps(directory.checkpoints) else unsaved_run(directory)
    if found is None or not over_unsaved:
        raise UserError(
            f"{directory.path}: already holds a run; give --resume auto to go on with it, or another --out."
        )
    if found.origin != (None if checkpoint is None else checkpoint.path.absolute()):
        raise UserError(f"{directory.path}: already holds a run that began from {found.origin or 'its first step'}.")
    if found.config is not None:
        refuse_changes(directory.config, found.config, config)


def check_resumed(directory: RunDirectory, checkpoint: Checkpoint, config: RunConfig, *, over_unsaved: bool) -> None:
    """Raise UserError unless `config` may go on from `checkpoint` in the directory: its own, or a new one to branch to.

    The config may differ in the CHANGEABLE fields only, and no later step of the directory may be lost.
    """
    refuse_changes(checkpoint.path, checkpoint.config, config)
    refuse_other_border(checkpoint.path, checkpoint.config, config, checkpoint.step)
    if not belongs_to(checkpoint, directory):
        check_new(directory, config, checkpoint, over_unsaved=over_unsaved)
        return
    if directory.config.exists():
        refuse_changes(directory.config, load_config(str(directory.config)), config)
    newer = [path for step, path in saved_steps(directory.checkpoints).items() if step > checkpoint.step]
    if newer:
        raise UserError(
            f"{directory.path}: holds checkpoints after {checkpoint.path.name}, up to {newer[-1].name}; "
            "resume from that one, or branch off into another --out."
        )


def belongs_to(checkpoint: Checkpoint, directory: RunDirectory) -> bool:
    """Return whether a checkpoint is one of the run in the directory."""
    source = checkpoint.run_directory
    return source is not None and source.resolve() == directory.path.resolve()


def prepare(
    directory: RunDirectory,
    checkpoint: Checkpoint | None,
    config: RunConfig,
    admission: Admission,
    say: Callable[[str], None],
) -> None:
    """Write what a run has before its next step: this start, config, the log up to the checkpoint, and certificate.

    What has to be read is read first, so that nothing is changed when it is damaged; `say` is told what is left out.
    """
    earlier, killed = directory.starts(), _earlier_kill(directory)
    step = checkpoint.step if checkpoint else 0
    source = RunDirectory(checkpoint.run_directory) if checkpoint and checkpoint.run_directory else directory
    kept = read_kept(source.metrics, step, checkpoint.log_lines if checkpoint else 0)
    write_json(directory.environment, [*earlier, {**environment(checkpoint), "preflight_skipped": admission.skipped}])
    write_atomically(directory.config, to_toml(config), lambda written: load_config(str(written)))
    rewrite_metrics(directory.metrics, kept.records)
    samples = keep_samples(source.samples, directory.samples, step)
    if admission.certificate is not None:
        write_atomically(directory.preflight, admission.certificate, read_json)
    # It tells how an earlier start ended; from here on it would tell of this one.
    directory.kill.unlink(missing_ok=True)
    for note in (*kept.notes, samples, killed):
        if note is not None:
            say(note)


def _own_config(directory: RunDirectory) -> RunConfig:
    """Return the config in the directory; raise UserError, in one line, when it is of something else."""
    try:
        return load_config(str(directory.config))
    except UserError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{first} So {directory.path} holds no run of this version; {NEW_OR_EMPTY}.") from error


def _refuse_foreign_log(directory: RunDirectory) -> None:
    """Raise UserError when metrics.jsonl is no log; a first line that a crash cut short, or left as zeros, is one."""
    if not directory.metrics.exists():
        return
    with opened(directory.metrics) as stream:
        begin = stream.read(len(LOG_BEGINS))
    if begin.startswith(b"\0") or LOG_BEGINS.startswith(begin):
        return
    raise UserError(f"{directory.metrics}: is no log of a run; {NEW_OR_EMPTY}.")


def _refuse_lost_checkpoints(directory: RunDirectory, first_step: int, config: RunConfig | None) -> None:
    """Raise UserError when the run came so far that it had saved: its checkpoints were taken away, the log stays."""
    last = last_step(directory.metrics)
    interval = config.train.save_interval if config else last
    if directory.summary.exists() or last > ((first_step - 1) // max(interval, 1) + 1) * interval:
        raise UserError(
            f"{directory.path}: its log goes up to step {last}, but it holds no checkpoint; "
            "put its checkpoints back, or give another --out."
        )


def _earlier_kill(directory: RunDirectory) -> str | None:
    """Return what to say of the kill.json of an earlier start; raise UserError when it is something else."""
    if not directory.kill.exists():
        return None
    try:
        report = KillReport.model_validate(read_json(directory.kill))
    except ValidationError:
        raise UserError(f"{directory.kill}: is no report of a kill switch; move it away to go on.") from None
    switches = ", ".join(dict.fromkeys(kill.switch for kill in report.kills))
    return f"{directory.kill} is dropped: an earlier start was stopped at step {report.step} by {switches}"

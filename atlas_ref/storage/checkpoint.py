"""Checkpoints: everything that a run needs to go on bit for bit, in files that hold data and never code.

    checkpoints/step-00000100/model.safetensors       parameters and buffers
                              optimiser.safetensors   moments and step counters, by parameter name
                              state.safetensors       the memory state of the B streams
                              meta.json               step, config, tokenizer and how many tokens it has (the model
                                                      may have more), which data, what the kill switches remember,
                                                      why preflight was skipped, how many lines the log had, size and
                                                      SHA-256 of each file above
    checkpoints/latest                                the name of the newest one
    checkpoints/best                                  the name of the best one (`retention`)

Several processes write folders of shards in the place of the first three files (`sharded_checkpoint`).

A checkpoint is written beside its final name, synced, and renamed: a directory called `step-*` is complete or damaged
from outside, which the checksums show. Two things that other formats store are absent because they are functions of
what is here: the data cursor is the step, as batch = f(seed, step), and there is no random generator to save, as
nothing in training draws a random number.
"""

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas_ref.config import RunConfig, config_hash
from atlas_ref.data.identity import DataIdentity
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.errors import UserError
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.reading import opened, read_header
from atlas_ref.storage.checkpoint_meta import FORMAT, FileRecord, Meta, SwitchRecord, file_record, read_meta
from atlas_ref.storage.files import sha256, sync, write_json
from atlas_ref.storage.removal import discard, make_partial
from atlas_ref.storage.sharded_checkpoint import are_shards, folder, read_shards, write_shards
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.wording import quoted

MODEL, OPTIMISER, STATE, META = "model.safetensors", "optimiser.safetensors", "state.safetensors", "meta.json"
TENSOR_FILES = (MODEL, OPTIMISER, STATE)
LATEST, BEST = "latest", "best"
STEP_NAME = re.compile(r"step-([0-9]{8,})")
MOST_CHARACTERS = 512
"""More than the name of any tensor of a model has, so that a message that shows one is readable."""
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
"""What a rename of a directory raises where something is in its place."""


class InTheWayError(UserError):
    """What has the name of a checkpoint that is to be saved."""


@dataclass(frozen=True)
class Checkpoint:
    """The verified description of a saved step; its tensors are read, and verified, when they are asked for."""

    path: Path
    step: int
    config: RunConfig
    tokenizer: str | None
    tokens: int | None
    data: DataIdentity
    preflight_skipped: str | None
    log_lines: int
    switches: SwitchState
    files: dict[str, FileRecord]

    @property
    def run_directory(self) -> Path | None:
        """The directory of the run that it is part of, DIR of DIR/checkpoints/step-*; None for a lone copy."""
        parent = self.path.absolute().parent
        return parent.parent if parent.name == "checkpoints" else None

    def tensors(self, name: str, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the tensors of one file on the CPU; raise UserError when it is not the file that was saved.

        Where several processes wrote it in shards, a tensor is cut as that of `like` is, or else whole.
        """
        if name in self.files:
            return read_tensors(self._verified(name))
        shards = {file for file in self.files if file.startswith(f"{folder(name)}/")}
        for shard in shards:
            self._verified(shard)
        return read_shards(self.path / folder(name), {Path(shard).name for shard in shards}, like or {})

    def verify(self) -> None:
        """Raise UserError, naming the file, unless every file is the one that was saved."""
        for name in self.files:
            self._verified(name)

    def _verified(self, name: str) -> Path:
        """Return the path of a file; raise UserError when it is not the one that was saved."""
        file, record = self.path / name, self.files[name]
        if not file.is_file():
            raise UserError(f"{file}: is missing from its checkpoint.")
        size = file.stat().st_size
        if size != record.bytes:
            raise UserError(f"{file}: is damaged (it has {size:,} bytes where {record.bytes:,} were saved).")
        if sha256(file) != record.sha256:
            raise UserError(f"{file}: is damaged (its SHA-256 is not the one in {META}).")
        return file


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that one process wrote; raise UserError for one that holds anything else."""
    read_header(file)
    try:
        tensors = load_file(file)
    # A TypeError comes from a size of an axis that is no machine integer.
    except (SafetensorError, TypeError) as error:
        raise UserError(f"{file}: is not a safetensors file ({str(error).splitlines()[0]}).") from error
    for key in tensors:
        if len(key) > MOST_CHARACTERS or not key.isprintable():
            raise UserError(f"{file}: tensor {key[:MOST_CHARACTERS]!r} has a name of no model.")
    return tensors


def checkpoint_name(step: int) -> str:
    """Return the directory name of a step, such as `step-00000100`."""
    return f"step-{step:08d}"


def save_checkpoint(
    directory: Path,
    step: int,
    config: RunConfig,
    tokenizer: Tokenizer | None,
    data: DataIdentity,
    preflight_skipped: str | None,
    log_lines: int,
    switches: SwitchState,
    tensors: Mapping[str, Mapping[str, Tensor]],
    world: World = ALONE,
    partial: Path | None = None,
) -> Path:
    """Write `tensors` (by file name) and their description as `directory/step-*`, atomically, and return its path.

    Raises InTheWayError, having changed nothing, where something else has that name.
    Of several processes the first one calls it, with a `partial` directory that it has made and in which the others
    `write_shards`.
    """
    final = directory / checkpoint_name(step)
    temporary = partial or make_partial(directory, final.name)
    try:
        # Not validated here: it is read back below, and judged as it will be when it is needed.
        meta = Meta.model_construct(
            format=FORMAT,
            step=step,
            config=config.model_dump(),
            config_hash=config_hash(config),
            tokenizer=tokenizer.to_json() if tokenizer else None,
            tokens=tokenizer.vocab_size if tokenizer else None,
            data=data,
            preflight_skipped=preflight_skipped,
            log_lines=log_lines,
            kill_switches=SwitchRecord(**asdict(switches)),
            files=write_shards(temporary, tensors, world) if world.size > 1 else _write_files(temporary, tensors),
        )
        write_json(temporary / META, meta.sealed())
        sync(temporary)
        open_checkpoint(temporary)
        os.replace(temporary, final)
    except OSError as error:
        if error.errno in TAKEN and os.path.lexists(final):
            raise InTheWayError(
                f"{final}: has the name of the checkpoint of step {step}, which is not saved."
            ) from error
        raise
    finally:
        # After a failure it would only take the space that may be missing; after success it is not there.
        discard(temporary)
    sync(directory)
    sync(directory.parent)
    return final


def open_checkpoint(path: Path) -> Checkpoint:
    """Read and verify the description of the checkpoint directory `path`; raise UserError that names the bad file."""
    file = path / META
    meta = read_meta(file)
    config = meta.run_config(file)
    if set(meta.files) != set(TENSOR_FILES) and not are_shards(meta.files, TENSOR_FILES):
        raise UserError(f"{file}: must describe the files {', '.join(TENSOR_FILES)}, or shards of them, and no others.")
    if STEP_NAME.fullmatch(path.name) and path.name != checkpoint_name(meta.step):
        raise UserError(f"{file}: is of step {meta.step}, which is not the step of the directory it is in.")
    return Checkpoint(
        path=path,
        step=meta.step,
        config=config,
        tokenizer=meta.tokenizer,
        tokens=meta.tokens,
        data=meta.data,
        preflight_skipped=meta.preflight_skipped,
        log_lines=meta.log_lines,
        switches=meta.kill_switches.state(),
        files=meta.files,
    )


def named_steps(directory: Path) -> dict[int, Path]:
    """Return what has the name of a checkpoint below a `checkpoints` directory by step, oldest first."""
    found = {
        int(match.group(1)): path
        for path in (directory.iterdir() if directory.is_dir() else ())
        if (match := STEP_NAME.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def saved_steps(directory: Path) -> dict[int, Path]:
    """Return the complete checkpoints below a `checkpoints` directory by step, oldest first.

    One whose files were damaged counts, so that nobody falls back in silence; an empty directory never was one.
    """
    return {step: path for step, path in named_steps(directory).items() if path.is_dir() and any(path.iterdir())}


def newest_checkpoint(directory: Path) -> Checkpoint | None:
    """Open and verify the newest checkpoint below a `checkpoints` directory, or return None when there is none.

    Raises UserError when it is damaged; it names the newest good one, which is not taken without being asked for.
    """
    paths = list(saved_steps(directory).values())
    if not paths:
        return None
    try:
        return _open_verified(paths[-1])
    except UserError as error:
        raise UserError(f"{error} {_way_on(paths[-1], paths[-2::-1])}") from error


def find_checkpoint(path: Path) -> Checkpoint:
    """Open `path`: a checkpoint, `latest` or `best` beside it, or a run directory, of which the newest is taken."""
    if path.is_file() and path.name in (LATEST, BEST):
        path = _follow(path)
    if not path.is_dir():
        raise UserError(f"{path}: is neither a run directory nor a checkpoint.")
    if STEP_NAME.fullmatch(path.name) or (path / META).exists():
        return open_checkpoint(path)
    newest = newest_checkpoint(path / "checkpoints")
    if newest is None:
        raise UserError(f"{path}: holds no checkpoint (checkpoints/step-* is expected).")
    return newest


def _open_verified(path: Path) -> Checkpoint:
    checkpoint = open_checkpoint(path)
    checkpoint.verify()
    return checkpoint


def _way_on(damaged: Path, older: Sequence[Path]) -> str:
    """Return the sentence that names the newest good checkpoint among `older`, newest first, and how to use it."""
    for path in older:
        try:
            _open_verified(path)
        except UserError:
            continue
        return (
            f"The newest good checkpoint is {path}: move {damaged.name} out of {damaged.parent} to go on from there, "
            f"or branch off with: atlas train --resume {quoted(path)} --out ANOTHER_DIR."
        )
    return "There is no good checkpoint before it."


def _follow(pointer: Path) -> Path:
    """Return the checkpoint that a pointer file names; its text is a name beside it and nothing else."""
    with opened(pointer) as stream:
        name = stream.read(100).decode(errors="replace").strip()
    if not STEP_NAME.fullmatch(name):
        raise UserError(f"{pointer}: must hold the name of a checkpoint beside it, such as {checkpoint_name(100)}.")
    return pointer.with_name(name)


def _write_files(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, FileRecord]:
    return {name: _write_tensors(directory / name, tensors[name]) for name in TENSOR_FILES}


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    """Write one safetensors file, sync it, and return its size and checksum."""
    # Safetensors writes a temporary file that nobody else may read; it should have the mode of any other file.
    file.touch()
    mode = file.stat().st_mode
    try:
        # Safetensors refuses views that share memory, and the fresh state of several rows is one expanded matrix.
        save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, file)
    except SafetensorError as error:
        # Also when the disk is full: what the operating system said is in its text.
        raise UserError(f"{file}: cannot be written ({error}).") from error
    file.chmod(mode)
    sync(file)
    return file_record(file)

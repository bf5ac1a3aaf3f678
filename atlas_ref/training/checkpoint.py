"""Checkpoints: everything that a run needs to go on bit for bit, in files that hold data and never code.

    checkpoints/step-00000100/model.safetensors       parameters and buffers
                              optimiser.safetensors   moments and step counters, by parameter name
                              state.safetensors       the memory state of the B streams
                              meta.json               step, config, tokenizer, what the kill switches remember, why
                                                      preflight was skipped, size and SHA-256 of each file above
    checkpoints/latest                                the name of the newest one

Several processes write folders of shards in the place of the first three files (`sharded_checkpoint`).

A checkpoint is written beside its final name, synced, and renamed: a directory called `step-*` is complete or damaged
from outside, which the checksums show. Two things that other formats store are absent because they are functions of
what is here: the data cursor is the step, as batch = f(seed, step), and there is no random generator to save, as
nothing in training draws a random number.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas_ref.config import RunConfig, config_hash, parse_config
from atlas_ref.errors import UserError
from atlas_ref.training.distributed import ALONE, World
from atlas_ref.training.files import file_record, read_json, sha256, sync, write_atomically, write_json
from atlas_ref.training.kill_switches import SwitchState
from atlas_ref.training.sharded_checkpoint import folder, read_shards, write_shards

FORMAT = "atlas-checkpoint-1"
MODEL, OPTIMISER, STATE, META = "model.safetensors", "optimiser.safetensors", "state.safetensors", "meta.json"
TENSOR_FILES = (MODEL, OPTIMISER, STATE)
STEP_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """The verified description of a saved step; its tensors are read, and verified, when they are asked for."""

    path: Path
    step: int
    config: RunConfig
    tokenizer: str | None
    data_digest: str
    preflight_skipped: str | None
    switches: SwitchState
    files: dict[str, dict[str, Any]]

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
            return self._whole_file(name)
        shards = {file for file in self.files if file.startswith(f"{folder(name)}/")}
        for shard in shards:
            self._verify(shard)
        return read_shards(self.path / folder(name), {Path(shard).name for shard in shards}, like or {})

    def _verify(self, name: str) -> Path:
        """Return the path of a file; raise UserError when it is not the one that was saved."""
        file = self.path / name
        record = self.files[name]
        if not file.is_file():
            raise UserError(f"{file}: is missing from its checkpoint.")
        size = file.stat().st_size
        if size != record["bytes"]:
            raise UserError(f"{file}: is damaged (it has {size:,} bytes where {record['bytes']:,} were saved).")
        if sha256(file) != record["sha256"]:
            raise UserError(f"{file}: is damaged (its SHA-256 is not the one in {META}).")
        return file

    def _whole_file(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a file that one process wrote."""
        file = self._verify(name)
        try:
            return load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file}: is not a safetensors file ({error}).") from error


def checkpoint_name(step: int) -> str:
    """Return the directory name of a step, such as `step-00000100`."""
    return f"step-{step:08d}"


def partial_path(directory: Path, step: int) -> Path:
    """Return where the checkpoint of a step is written before it gets its name."""
    return directory / f".partial-{checkpoint_name(step)}"


def save_checkpoint(
    directory: Path,
    step: int,
    config: RunConfig,
    tokenizer: str | None,
    data_digest: str,
    preflight_skipped: str | None,
    switches: SwitchState,
    tensors: Mapping[str, Mapping[str, Tensor]],
    world: World = ALONE,
) -> Path:
    """Write `tensors` (by file name) and their description as `directory/step-*`, atomically, and return its path.

    Of several processes the first one calls it, and the others `write_shards` with `partial_path`.
    """
    final = directory / checkpoint_name(step)
    temporary = partial_path(directory, step)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if world.size > 1:
        files = write_shards(temporary, tensors, world)
    else:
        files = {name: _write_tensors(temporary / name, tensors[name]) for name in TENSOR_FILES}
    meta = {
        "format": FORMAT,
        "step": step,
        "config": config.model_dump(),
        "config_hash": config_hash(config),
        "tokenizer": tokenizer,
        "data_digest": data_digest,
        "preflight_skipped": preflight_skipped,
        "kill_switches": asdict(switches),
        "files": files,
    }
    write_json(temporary / META, {**meta, "sha256": _digest(meta)})
    sync(temporary)
    os.replace(temporary, final)
    write_atomically(directory / "latest", f"{final.name}\n")
    return final


def open_checkpoint(path: Path) -> Checkpoint:
    """Read and verify the description of the checkpoint directory `path`; raise UserError that names the bad file."""
    file = path / META
    meta = read_json(file)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise UserError(f"{file}: does not describe a checkpoint of the format {FORMAT}.")
    stored = meta.pop("sha256", None)
    if stored != _digest(meta):
        raise UserError(f"{file}: is damaged (its contents do not match its own SHA-256).")
    config = parse_config(meta["config"], str(file))
    if config_hash(config) != meta["config_hash"]:
        raise UserError(f"{file}: holds a config that this version reads differently from the one that wrote it.")
    switches = TypeAdapter(SwitchState).validate_python(meta["kill_switches"])
    return Checkpoint(
        path=path,
        step=meta["step"],
        config=config,
        tokenizer=meta["tokenizer"],
        data_digest=meta["data_digest"],
        preflight_skipped=meta["preflight_skipped"],
        switches=switches,
        files=meta["files"],
    )


def saved_steps(directory: Path) -> dict[int, Path]:
    """Return the complete checkpoints below a `checkpoints` directory by step, oldest first."""
    found = {
        int(match.group(1)): path
        for path in (directory.iterdir() if directory.is_dir() else ())
        if (match := STEP_NAME.fullmatch(path.name)) and path.is_dir()
    }
    return dict(sorted(found.items()))


def find_checkpoint(path: Path) -> Checkpoint:
    """Open `path`: a checkpoint, the `latest` file beside it, or a run directory, of which the newest is taken."""
    if path.is_file() and path.name == "latest":
        path = path.with_name(path.read_text(encoding="utf-8").strip())
    if not path.is_dir():
        raise UserError(f"{path}: is neither a run directory nor a checkpoint.")
    if STEP_NAME.fullmatch(path.name) or (path / META).exists():
        return open_checkpoint(path)
    steps = saved_steps(path / "checkpoints")
    if not steps:
        raise UserError(f"{path}: holds no checkpoint (checkpoints/step-* is expected).")
    return open_checkpoint(steps[max(steps)])


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write one safetensors file, sync it, and return its size and checksum."""
    # Safetensors refuses views that share memory, and the fresh state of several rows is one expanded matrix.
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, file)
    sync(file)
    return file_record(file)


def _digest(meta: Mapping[str, Any]) -> str:
    """Return the checksum of a description, over a spelling of it that does not depend on order or spacing."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()

"""Checkpoints written by several processes: what each holds goes into safetensors files of its own.

    checkpoints/step-00000100/model/shard-00001-*.safetensors         by the first process
                              model/shard-00002-*.safetensors         by the second
                              optimiser/..., state/...                likewise
                              meta.json                               as ever, with the SHA-256 of each of these files

`torch.distributed.checkpoint` decides who writes what, and reads any part of a tensor from whatever shards hold it, so
that any number of processes goes on with what any other number wrote; a row of the memory state keeps its index.
Deliberately not its default storage, whose `.metadata` is a pickle, which executes code as it is read: its safetensors
storage keeps offsets as JSON in the header of each file.
"""

import math
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.processes.distributed import CommonError, World
from atlas_ref.processes.parallel import is_shard
from atlas_ref.reading import read_header
from atlas_ref.storage.checkpoint_meta import FileRecord, file_record
from atlas_ref.storage.files import sync

if TYPE_CHECKING:
    # Imported where shards are read or written: it takes most of a second, and one process has none.
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

SUFFIX = ".safetensors"
SHARD = re.compile(r"([a-z]+)/shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors")


def folder(name: str) -> str:
    """Return where the shards of a file lie: `model` for `model.safetensors`."""
    return name.removesuffix(SUFFIX)


def are_shards(files: Collection[str], names: Collection[str]) -> bool:
    """Return whether `files` are shards, as they are written here, of each of `names` and of nothing else."""
    found = [SHARD.fullmatch(file) for file in files]
    return all(found) and {match.group(1) for match in found if match} == {folder(name) for name in names}


def write_shards(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], world: World) -> dict[str, FileRecord]:
    """Write what this process holds of `tensors` (by file name) and return size and checksum of the files of all.

    Every process must call it, with the same directory, which the first one has made. Raises CommonError in all of
    them when one cannot write.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with world.together():
        for name in tensors if world.main else ():
            (directory / folder(name)).mkdir()
    for name, file in tensors.items():
        writer = HuggingFaceStorageWriter(str(directory / folder(name)), save_distributed=True)
        try:
            save({key: tensor.detach() for key, tensor in file.items()}, storage_writer=writer)
        except CheckpointException as error:
            # It is raised in all processes, and holds what each of them met.
            raise CommonError(f"{directory}: cannot be written ({next(iter(error.failures.values()))[0]}).") from error
    records: dict[str, FileRecord] = {}
    with world.together():
        for name in tensors if world.main else ():
            for path in sorted((directory / folder(name)).iterdir()):
                sync(path)
                records[f"{folder(name)}/{path.name}"] = file_record(path)
            sync(directory / folder(name))
    return records


def read_shards(directory: Path, names: set[str], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in the files `names` of a directory, on the CPU: each as it is cut in `like`, or else whole.

    The files must have proved to be those that were saved. Raises UserError when there are others beside them, or when
    they do not make up whole tensors.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    others = sorted({path.name for path in directory.iterdir()} ^ names) if directory.is_dir() else sorted(names)
    if others:
        raise UserError(f"{directory / others[0]}: is missing from its checkpoint, or no part of it.")
    for name in sorted(names):
        read_header(directory / name)
    reader = HuggingFaceStorageReader(str(directory))
    try:
        found = {name: _whole(name, entry) for name, entry in reader.read_metadata().state_dict_metadata.items()}
        targets = {name: _target(entry, like.get(name)) for name, entry in found.items()}
        with warnings.catch_warnings():
            # It warns of what is meant: each process reads for itself.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(targets, storage_reader=reader, no_dist=True)
    except (SafetensorError, CheckpointException, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{directory}: does not hold shards of tensors ({error}).") from error
    return targets


def cut_like(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whole tensors cut as those of `like` are; one of another shape stays whole, to be refused by name."""
    return {name: _cut(tensor, like.get(name)) for name, tensor in tensors.items()}


def _cut(tensor: Tensor, like: Tensor | None) -> Tensor:
    if is_shard(tensor) or not is_shard(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh = like.device_mesh
    # Every process has read the whole tensor, so nothing is sent.
    return distribute_tensor(tensor.to(mesh.device_type), mesh, like.placements, src_data_rank=None)


def _whole(name: str, entry: Any) -> "TensorStorageMetadata":
    """Return the description of a stored tensor; raise ValueError unless its shards have as many numbers as it."""
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    if not isinstance(entry, TensorStorageMetadata):
        raise ValueError(f"{name} is no tensor")
    if sum(math.prod(chunk.sizes) for chunk in entry.chunks) != math.prod(entry.size):
        raise ValueError(f"the shards of {name} do not make up a tensor of {list(entry.size)}")
    return entry


def _target(entry: "TensorStorageMetadata", like: Tensor | None) -> Tensor:
    """Return where a stored tensor is read to: a tensor that is cut as `like` is if that has its shape, or a whole."""
    dtype = entry.properties.dtype
    if is_shard(like) and like.shape == entry.size and like.dtype == dtype:
        return torch.empty_like(like.detach())
    return torch.empty(entry.size, dtype=dtype)

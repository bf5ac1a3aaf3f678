"""Opening what `atlas eval` and `atlas generate` are pointed at: a model and the data it knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from atlas_ref.config import RunConfig
    from atlas_ref.config.memory import MemoryConfig
    from atlas_ref.models.family import Model
    from atlas_ref.storage.checkpoint import Checkpoint

Device = Literal["auto", "cpu", "cuda"]


Chunk = Annotated[int | None, typer.Option(min=1, help="Tokens of a chunk of the memory; its steps stay as trained.")]


class Opened(NamedTuple):
    """A checkpoint, the config of its stage of training, and the model on its device.

    The model may be served in other chunks than the config says; the run arranges the data, as it does in both stages.
    """

    checkpoint: "Checkpoint"
    config: "RunConfig"
    model: "Model"
    served: "RunConfig"
    run: "RunConfig"


def open_model(path: Path, overrides: list[str], chunk: int | None = None) -> Opened:
    """Open a run directory or checkpoint and load its model; raise UserError that names what cannot be used.

    With `chunk` its memory computes in chunks of that length, and divides its steps by the length of training.
    """
    import torch

    from atlas_ref.config import parse_config
    from atlas_ref.storage.checkpoint import find_checkpoint
    from atlas_ref.training.run import load_model, select_device

    checkpoint = find_checkpoint(path)
    given, origin = checkpoint.config.model_dump(), str(checkpoint.path)
    # What a second stage left is served in its chunks.
    run = parse_config(given, origin, overrides)
    config = served = run.of_update(checkpoint.step - 1)
    if chunk is not None:
        served = parse_config(config.model_dump(), origin, served_in(chunk, config.model.memory))
    torch.set_num_threads(config.train.threads)
    model = load_model(checkpoint, select_device(config.train.device), served.any_model)
    return Opened(checkpoint, config, model, served, run)


def served_in(chunk: int, trained: "MemoryConfig") -> list[str]:
    """Return the changes that serve a memory in chunks of one length, its steps as they were; of a hierarchy the local
    memories alone, as the global one keeps its chunk (TNT 2511.07343 Section 4.2).
    """
    if trained.kind == "single":
        return [f"model.memory.chunk={chunk}", f"model.memory.step_chunk={trained.step_chunk or trained.chunk}"]
    local = trained.hierarchy
    steps = list(local.local_step_chunks or local.local_chunks)
    chunks = [chunk] * len(local.local_chunks)
    return [f"model.memory.hierarchy.local_chunks={chunks}", f"model.memory.hierarchy.local_step_chunks={steps}"]


def chunks_of(config: "RunConfig") -> int | list[int] | None:
    """Return the chunk of a memory, those of a hierarchy with the global one first, or None where there are none."""
    from atlas_ref.config.model import ModelConfig

    if not isinstance(config.any_model, ModelConfig):
        return None
    chunks = list(config.any_model.memory.chunks().values())
    return chunks if len(chunks) > 1 else chunks[0]


def chunk_line(opened: Opened) -> str | None:
    """Return what to say of a memory that is served in other chunks than it was trained in."""
    if chunks_of(opened.served) == chunks_of(opened.config):
        return None
    trained, served = (config.model.memory.chunks() for config in (opened.config, opened.served))
    now, then = (_listed(sorted(set(chunks.values()))) for chunks in (served, trained))
    return f"served in chunks of {now} tokens, trained in chunks of {then}"


def _listed(chunks: list[int]) -> str:
    return " and ".join(f"{chunk:,}" for chunk in chunks)

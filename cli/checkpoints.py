"""Opening what `atlas eval` and `atlas generate` are pointed at: a model and the data it knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from atlas_ref.config import RunConfig
    from atlas_ref.models.family import Model
    from atlas_ref.storage.checkpoint import Checkpoint

Device = Literal["auto", "cpu", "cuda"]


Chunk = Annotated[int | None, typer.Option(min=1, help="Tokens of a chunk of the memory; its steps stay as trained.")]


class Opened(NamedTuple):
    """A checkpoint, the config that the command uses, and the model on its device.

    The model may be served in other chunks than the config says, which arranges the data as in training.
    """

    checkpoint: "Checkpoint"
    config: "RunConfig"
    model: "Model"
    served: "RunConfig"


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
    config = served = parse_config(given, origin, overrides)
    if chunk is not None:
        memory = checkpoint.config.model.memory
        changes = (f"model.memory.chunk={chunk}", f"model.memory.step_chunk={memory.step_chunk or memory.chunk}")
        served = parse_config(given, origin, [*overrides, *changes])
    torch.set_num_threads(config.train.threads)
    model = load_model(checkpoint, select_device(config.train.device), served.any_model)
    return Opened(checkpoint, config, model, served)


def chunk_line(opened: Opened) -> str | None:
    """Return what to say of a memory that is served in other chunks than it was trained in."""
    if opened.served == opened.config:
        return None
    trained, served = opened.config.model.memory, opened.served.model.memory
    return f"served in chunks of {served.chunk:,} tokens, trained in chunks of {trained.chunk:,}"


def memory_chunk(config: "RunConfig") -> int | None:
    """Return the tokens of a chunk of the memory, None for a model without chunks."""
    from atlas_ref.config.model import ModelConfig

    return config.any_model.memory.chunk if isinstance(config.any_model, ModelConfig) else None

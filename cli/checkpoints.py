"""Opening what `atlas eval` and `atlas generate` are pointed at: a model and the data it knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from atlas_ref.config import RunConfig
    from atlas_ref.models.family import Model
    from atlas_ref.storage.checkpoint import Checkpoint

Device = Literal["auto", "cpu", "cuda"]


class Opened(NamedTuple):
    """A checkpoint, the config that the command uses, and the model on its device."""

    checkpoint: "Checkpoint"
    config: "RunConfig"
    model: "Model"


def open_model(path: Path, overrides: list[str]) -> Opened:
    """Open a run directory or checkpoint and load its model; raise UserError that names what cannot be used."""
    import torch

    from atlas_ref.config import parse_config
    from atlas_ref.storage.checkpoint import find_checkpoint
    from atlas_ref.training.run import load_model, select_device

    checkpoint = find_checkpoint(path)
    config = parse_config(checkpoint.config.model_dump(), str(checkpoint.path), overrides)
    torch.set_num_threads(config.train.threads)
    return Opened(checkpoint, config, load_model(checkpoint, select_device(config.train.device)))

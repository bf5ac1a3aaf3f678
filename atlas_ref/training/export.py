"""A trained model as files for other programs: weights, what they are, and how text becomes tokens.

DIR/model.safetensors    every parameter in float32; metadata: format, version, step and hash of the configuration
DIR/config.json          the model's configuration, and which checkpoint it was
DIR/names.md             a table of every tensor: name, shape, meaning
DIR/tokenizer.json       of byte-pair encodings, as the package `tokenizers` reads it
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import atlas_ref
from atlas_ref.config import config_hash
from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.config.run import AnyModelConfig
from atlas_ref.errors import UserError
from atlas_ref.models.registry import family_of
from atlas_ref.models.tensors import LAYER, TensorInfo
from atlas_ref.places import check_unused
from atlas_ref.storage.checkpoint import MODEL, Checkpoint
from atlas_ref.storage.files import sync, write_atomically, write_json
from atlas_ref.training.run import load_model, tokenizer_of

FORMAT = "atlas-export-1"
CONFIG, NAMES, TOKENIZER = "config.json", "names.md", "tokenizer.json"


class Exported(NamedTuple):
    """What was written."""

    parameters: int
    bytes: int


def export(checkpoint: Checkpoint, target: Path) -> Exported:
    """Write the model of a checkpoint to `target`, all of it or nothing (module docstring).

    Raises UserError for a directory that is in use, and for a checkpoint that is damaged.
    """
    check_unused(target, "an export")
    weights = dict(load_model(checkpoint, torch.device("cpu")).state_dict())
    with _in_one_piece(target) as folder:
        file = folder / MODEL
        try:
            save_file(weights, file, metadata=_metadata(checkpoint))
        except SafetensorError as error:
            raise UserError(f"{file}: cannot be written ({error}).") from error
        sync(file)
        size = file.stat().st_size
        text = _tokenizer(checkpoint)
        if text is not None and text["kind"] == "bpe":
            write_json(folder / TOKENIZER, text.pop("model"))
            text["file"] = TOKENIZER
        write_json(folder / CONFIG, {**_description(checkpoint), "tokenizer": text})
        # Safetensors makes files that nobody else may read, whatever the umask says.
        shutil.copymode(folder / CONFIG, file)
        write_atomically(folder / NAMES, names_table(checkpoint.config.any_model))
    return Exported(sum(tensor.numel() for tensor in weights.values()), size)


def names_table(config: AnyModelConfig) -> str:
    """Return names.md: every tensor with its shape and meaning; the layers are alike, so one stands for all."""
    first, any_layer, layers = LAYER.format(0), LAYER.format("N"), LAYER.partition("{")[0]
    found = family_of(config).tensors(config)
    shown = (info for info in found if info.name.startswith(first) or not info.name.startswith(layers))
    rows = "".join(_row(info._replace(name=info.name.replace(first, any_layer))) for info in shown)
    columns = "Vectors are columns: a matrix W of shape [out, in] is used as W x."
    # Layers of one matrix each are not alike, and have no heads.
    how = (
        columns
        if isinstance(config, PerceptronConfig)
        else (
            f"N is 0 to {config.n_layers - 1}. {columns}\nWhere an axis holds several things, they stand in the order "
            f"of its words, and of each thing all that belongs to head 0 comes first; there are {config.n_heads} heads."
        )
    )
    return f"# Tensors of `{MODEL}`\n\n{how}\n\n| tensor | shape | axes | meaning |\n|---|---|---|---|\n{rows}"


def _row(info: TensorInfo) -> str:
    shape = " x ".join(str(size) for size in info.shape)
    return f"| `{info.name}` | {shape} | {info.axes} | {info.meaning} |\n"


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the metadata of the safetensors file; `format` is what the libraries that read one look for."""
    return {
        "format": "pt",
        "producer": f"atlas-spec {atlas_ref.__version__}",
        "step": str(checkpoint.step),
        "config_hash": config_hash(checkpoint.config),
    }


def _description(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return config.json without its tokenizer."""
    model = checkpoint.config.any_model
    family = family_of(model)
    return {
        "format": FORMAT,
        "model_type": family.name,
        "atlas_spec": atlas_ref.__version__,
        "step": checkpoint.step,
        "config_hash": config_hash(checkpoint.config),
        "parameters": family.count_parameters(model),
        "trained_on": checkpoint.config.data.source,
        "sequence_length": checkpoint.config.data.sequence_length,
        "preflight_skipped": checkpoint.preflight_skipped,
        "model": model.model_dump(mode="json"),
    }


def _tokenizer(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return the kind of the tokenizer, the number of its tokens, the one that ends a document and, for bpe, the
    encoding; None for no text.
    """
    tokenizer = tokenizer_of(checkpoint)
    if tokenizer is None:
        return None
    return {**json.loads(tokenizer.to_json()), "tokens": tokenizer.vocab_size, "separator": tokenizer.separator}


@contextmanager
def _in_one_piece(target: Path) -> Iterator[Path]:
    """Provide a new directory beside `target` that gets its name at the end, or is removed after a failure."""
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = target.absolute().parent / f".{target.absolute().name}.{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
        sync(folder)
        # Takes the place of an empty directory, and fails where something has come into it meanwhile.
        os.replace(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync(target.absolute().parent)

"""From a preset or a TOML file to a configuration, and back to text and to a hash."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atlas_ref.config.errors import describe, nearest
from atlas_ref.config.run import RunConfig
from atlas_ref.config.toml import apply_overrides, read_toml, write_toml
from atlas_ref.errors import UserError

BASE = "tiny"
"""The preset of which a published model's name alone takes everything but the memory."""


def preset_names() -> list[str]:
    """Names of the presets that describe a whole run: the files of `atlas_ref/config/presets`, without their ending."""
    return sorted(entry.name.removesuffix(".toml") for entry in _presets().iterdir() if entry.name.endswith(".toml"))


def model_names() -> list[str]:
    """Names of the published models (docs/models.md): the files of `presets/models`, each the memory of one."""
    return sorted(entry.name.removesuffix(".toml") for entry in _models().iterdir() if entry.name.endswith(".toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset, or the TOML file at a path, change it by overrides such as `train.seed=1`, and validate it.

    A text that is a preset's name is one; anything else that ends in `.toml`, holds a path separator or exists is a
    path. The name of a published model is the preset `tiny` with the memory of that model, and `recall+deltanet` the
    preset `recall` with that of `deltanet`. Raises UserError with one line for each thing that is wrong.
    """
    return parse_config(_table(name_or_path), _origin(name_or_path), overrides)


def parse_config(table: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Validate a nested table that came from `origin` (a file's name, used in messages), after applying overrides."""
    changed = apply_overrides(table, overrides, origin)
    try:
        return RunConfig.model_validate(changed)
    except ValidationError as error:
        raise UserError("\n".join(describe(error, RunConfig, origin, overrides))) from None


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML text, each field with its meaning; loading it gives the same configuration."""
    return write_toml(config)


def config_hash(config: RunConfig) -> str:
    """SHA-256 of the canonical JSON of the configuration (sorted keys, no spaces), in hexadecimal."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _presets() -> Traversable:
    return resources.files("atlas_ref") / "config" / "presets"


def _models() -> Traversable:
    return _presets() / "models"


def _table(name_or_path: str) -> dict[str, Any]:
    """Return the table of a preset or file, or of one with the memory of a published model in place of its own."""
    base, plus, model = name_or_path.rpartition("+")
    if model not in model_names() or (plus and not base):
        return read_toml(*_locate(name_or_path))
    table = read_toml(*_locate(base or BASE))
    memory = read_toml(_models() / f"{model}.toml", f"{model}.toml")["model"]["memory"]
    section = table.get("model")
    return {**table, "model": {**section, "memory": memory}} if isinstance(section, dict) else table


def _origin(name_or_path: str) -> str:
    """Return what messages call the file of a preset, or else what the user wrote."""
    return f"{name_or_path}.toml" if name_or_path in preset_names() else name_or_path


def _locate(name_or_path: str) -> tuple[Traversable, str]:
    """The preset or file that is meant, and what messages call it."""
    names = preset_names()
    if name_or_path in names:
        return _presets() / f"{name_or_path}.toml", f"{name_or_path}.toml"
    path = Path(name_or_path)
    if name_or_path.endswith(".toml") or "/" in name_or_path or (name_or_path and os.path.exists(path)):
        return path, name_or_path
    guess = nearest(name_or_path, [*names, *model_names()])
    raise UserError(
        f'"{name_or_path}" is neither a preset nor a file; did you mean "{guess}"? '
        f"The presets are {', '.join(names)}, and of published models {', '.join(model_names())}."
    )

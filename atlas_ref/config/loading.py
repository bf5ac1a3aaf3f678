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


def preset_names() -> list[str]:
    """Names of the shipped presets: the files of `atlas_ref/config/presets`, without their ending."""
    return sorted(entry.name.removesuffix(".toml") for entry in _presets().iterdir() if entry.name.endswith(".toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset, or the TOML file at a path, change it by overrides such as `train.seed=1`, and validate it.

    A text that is a preset's name is one; anything else that ends in `.toml`, holds a path separator or exists is a
    path. Raises UserError with one line for each thing that is wrong.
    """
    file, origin = _locate(name_or_path)
    return parse_config(read_toml(file, origin), origin, overrides)


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


def _locate(name_or_path: str) -> tuple[Traversable, str]:
    """The preset or file that is meant, and what messages call it."""
    names = preset_names()
    if name_or_path in names:
        return _presets() / f"{name_or_path}.toml", f"{name_or_path}.toml"
    path = Path(name_or_path)
    if name_or_path.endswith(".toml") or "/" in name_or_path or (name_or_path and os.path.exists(path)):
        return path, name_or_path
    guess = nearest(name_or_path, names)
    raise UserError(
        f'"{name_or_path}" is neither a preset nor a file; did you mean "{guess}"? The presets are {", ".join(names)}.'
    )

"""What the shell offers at TAB for presets and the fields of a configuration; torch is not needed for either.

Typer leaves out what does not begin with what was typed.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def complete_preset() -> list[str]:
    """Return the names of the presets and of the published models."""
    from atlas_ref.config import model_names, preset_names

    return [*preset_names(), *model_names()]


def complete_field() -> list[tuple[str, str]]:
    """Return `section.field=` and its meaning for every field."""
    from atlas_ref.config import RunConfig

    # A field that models of several families have stands once.
    return list(dict(_fields(RunConfig, "")).items())


def _fields(section: "type[BaseModel]", prefix: str) -> Iterator[tuple[str, str]]:
    from atlas_ref.config.errors import sections_of
    from atlas_ref.config.toml import written

    for own, field in section.model_fields.items():
        name = prefix + written(own, field)
        for kind in sections_of(field):
            yield from _fields(kind, f"{name}.")
        if not sections_of(field):
            yield f"{name}=", field.description or ""

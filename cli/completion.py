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

    return list(_fields(RunConfig, ""))


def _fields(section: "type[BaseModel]", prefix: str) -> Iterator[tuple[str, str]]:
    from atlas_ref.config import Section

    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}=", field.description or ""

"""What the shell offers at TAB for presets and the fields of a configuration; torch is not needed for either."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def complete_preset(incomplete: str) -> list[str]:
    """Return the presets whose names begin so."""
    from atlas_ref.config import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_field(incomplete: str) -> list[tuple[str, str]]:
    """Return `section.field=` and its meaning for every field whose name begins so."""
    from atlas_ref.config import RunConfig

    return [(name, meaning) for name, meaning in _fields(RunConfig, "") if name.startswith(incomplete)]


def _fields(section: "type[BaseModel]", prefix: str) -> Iterator[tuple[str, str]]:
    from atlas_ref.config import Section

    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}=", field.description or ""

"""A table of the configuration: frozen, strict, and with its contradictions said one by one."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A table of the configuration; `problems` yields one sentence for each contradiction between its fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def problems(self) -> Iterator[str]:
        """Yield the contradictions between fields that are each valid alone."""
        return iter(())

    @model_validator(mode="after")
    def _has_no_problems(self) -> "Section":
        problems = list(self.problems())
        if problems:
            raise ValueError("\n".join(problems))
        return self


def listed(found: Any) -> Any:
    """Return a list as a tuple, which cannot change: TOML and JSON know lists alone."""
    return tuple(found) if isinstance(found, list) else found

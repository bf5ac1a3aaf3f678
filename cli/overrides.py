"""Options that name fields of the configuration, as overrides that win over `--set`."""

import json
from collections.abc import Mapping
from pathlib import Path


def as_overrides(fields: Mapping[str, object]) -> list[str]:
    """Return `name=value` for each field that was given, which are those that are not None."""
    return [f"{name}={json.dumps(value)}" for name, value in fields.items() if value is not None]


def data_fields(data: Path | None) -> dict[str, object]:
    """Return the fields that `--data PATH` sets; the path becomes absolute, as a run may go on from elsewhere."""
    return {"data.source": "path", "data.path": str(data.resolve())} if data else {}

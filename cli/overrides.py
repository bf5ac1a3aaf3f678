"""Options that name fields of the configuration, as overrides that win over `--set`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

DataPath = Annotated[Path | None, typer.Option(metavar="PATH", help="A file or folder of text, JSONL or parquet.")]
DataKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Key or column of its text, such as body or title+body.")
]


def as_overrides(fields: Mapping[str, object]) -> list[str]:
    """Return `name=value` for each field that was given, which are those that are not None."""
    return [f"{name}={json.dumps(value)}" for name, value in fields.items() if value is not None]


def data_fields(data: Path | None, key: str | None) -> dict[str, object]:
    """Return the fields that `--data` and `--data-key` set; the path becomes absolute, as a run may go on elsewhere."""
    place = {"data.source": "path", "data.path": str(data.resolve())} if data else {}
    return {**place, "data.text_key": key}

"""Options that name fields of the configuration: `--set`, and those that win over it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from atlas_ref.errors import UserError
from atlas_ref.wording import visible
from cli.completion import complete_field

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change a field; may be repeated.", autocompletion=complete_field),
]
DataPath = Annotated[Path | None, typer.Option(metavar="PATH", help="A file or folder of text, JSONL or parquet.")]
DataKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Key or column of its text, such as body or title+body.")
]


def refuse_contradictions(overrides: Sequence[str] | None, fields: Mapping[str, object]) -> None:
    """Raise UserError when a field is given two values, by `--set` twice or by `--set` and an option of its own.

    The last one would win, which a command line that a script has put together does not show.
    """
    from atlas_ref.config.toml import override_value

    given = {name: value for name, value in fields.items() if value is not None}
    for override in overrides or ():
        name, _, text = override.partition("=")
        name, value = ".".join(part.strip() for part in name.split(".")), override_value(text.strip())
        earlier = given.setdefault(name, value)
        # Not a number differs from itself, but not as it is written.
        if earlier != value and repr(earlier) != repr(value):
            raise UserError(f"{name} is given two values, {given[name]!r} and {value!r}; give it one.")


def as_overrides(fields: Mapping[str, object]) -> list[str]:
    """Return `name=value` for each field that was given, which are those that are not None."""
    return [f"{name}={json.dumps(value)}" for name, value in fields.items() if value is not None]


def data_fields(data: Path | None, key: str | None) -> dict[str, object]:
    """Return the fields that `--data` and `--data-key` set; the path becomes absolute, as a run may go on elsewhere."""
    # A configuration is UTF-8 and has no way to write other bytes.
    if data and visible(str(data)) != str(data):
        raise UserError(f"--data {str(data)!r}: the name must be UTF-8 without control characters.")
    place = {"data.source": "path", "data.path": str(data.resolve())} if data else {}
    return {**place, "data.text_key": key}

"""TOML text: reading a file, changing a table by overrides, and writing a configuration with its comments."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from atlas_ref.errors import UserError
from atlas_ref.reading import MOST_PARTS, MOST_TOML, parse_toml, read_bytes, read_pipe

MOST_SHOWN = 60
"""Characters of a key or value that a message shows."""


def read_toml(file: Traversable, name: str) -> dict[str, Any]:
    """The nested table in a TOML file; `name` is what the user called it. Raises UserError that names the file."""
    try:
        content = _content(file)
    except OSError as error:
        raise UserError(f"{name}: cannot be read as a configuration file ({error.strerror}).") from None
    if not content.removeprefix(b"\xef\xbb\xbf").strip():
        raise UserError(f"{name}: is empty; it must hold every field, as `atlas config show tiny` prints them.")
    try:
        return parse_toml(content)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text (byte {error.start}); a configuration is a TOML file.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: is not valid TOML: {error}.") from None


def _content(file: Traversable) -> bytes:
    """Return what is in a file of bounded size, or comes through a pipe that a shell has opened."""
    if not isinstance(file, Path):
        return file.read_bytes()
    return read_pipe(file, MOST_TOML) if file.is_fifo() else read_bytes(file, MOST_TOML)


def apply_overrides(table: Mapping[str, Any], overrides: Sequence[str], origin: str) -> dict[str, Any]:
    """A copy of the table with each override `a.b=value` set; later ones win.

    The value is read as TOML; what is not TOML, such as a bare word, is text.
    """
    changed = copy.deepcopy(dict(table))
    for override in overrides:
        name, equals, text = override.partition("=")
        parts = [part.strip() for part in name.split(".")]
        if not equals or not all(parts) or len(parts) > MOST_PARTS:
            raise UserError(f'override "{shortened(override)}" of {origin}: must look like section.field=value.')
        section = changed
        for depth, part in enumerate(parts[:-1], start=1):
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                place = shortened(".".join(parts[:depth]))
                raise UserError(f'override "{shortened(override)}" of {origin}: {place} is not a table.')
        section[parts[-1]] = override_value(text.strip())
    return changed


def shortened(text: str) -> str:
    """Return a text as a message shows it: its beginning, when it is long."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def write_toml(config: BaseModel) -> str:
    """The fields as TOML text, one table a section, each field followed by its description as a comment."""
    return "\n".join(_lines(config, "")).lstrip("\n") + "\n"


def toml_value(value: object) -> str:
    """A boolean, number or text as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # A JSON string is a TOML string, except that TOML wants the delete character escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def override_value(text: str) -> Any:
    """The value of an override: TOML, or a text where it is not TOML."""
    try:
        table = parse_toml(f"value = {text}".encode())
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


def _lines(config: BaseModel, prefix: str) -> Iterator[str]:
    """Yield the fields of a section, then its tables: in TOML a field after a table would belong to the table."""
    fields = type(config).model_fields
    tables = {name: value for name in fields if isinstance(value := getattr(config, name), BaseModel)}
    for name, field in fields.items():
        if name not in tables:
            entry = f"{name} = {toml_value(getattr(config, name))}"
            yield f"{entry:<32} # {field.description}"
    for name, section in tables.items():
        title = prefix + written(name, fields[name])
        yield ""
        yield f"[{title}]"
        yield from _lines(section, f"{title}.")


def written(name: str, field: FieldInfo) -> str:
    """Return the name of a field in a file, which differs from its own where several kinds of section share it."""
    return field.alias or name

"""What is in a file of data: plain text, JSON lines or parquet, each as it is or packed by gzip.

    .txt .md     one document
    .jsonl       a document a line: what stands under the key of the text
    .parquet     a document a row: what stands in the column of the text
    .gz          behind any of them: unpacked, within bounds

The key is `data.text_key`: names that are joined by `+` give one document of their texts with a newline between, and
`|` separates what is tried in turn, so `text|question+answer` takes "text" where there is one. A document whose text,
or a part of it, is blank or null is empty: it is yielded as "" and left to the caller to count.
"""

import gzip
import importlib.util
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from atlas_ref.errors import UserError
from atlas_ref.wording import visible

KINDS = {".txt": "text", ".md": "text", ".jsonl": "jsonl", ".parquet": "parquet"}
"""How a file is read, by the end of its name in any case."""
PACKED = ".gz"
MOST_BYTES = 2**32
"""The largest file that is read, packed or not; documents and tokens are kept in memory."""
LEAST_ROOM, MOST_RATIO = 2**26, 100
"""A packed file may unpack to this many bytes, or to this many times its own size: text shrinks to a tenth or so."""
HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can write and UTF-8 cannot."""
SHOWN = 6
"""Most keys that a message names."""

TABLE = "is a table, and its separators would be trained on: write it as .parquet, or as .jsonl with an object a line"
UNPACK = "is packed: unpack it first; of packed files only .gz is read"
HINTS = {
    ".csv": TABLE,
    ".tsv": TABLE,
    ".json": "is JSON, and read is .jsonl, an object a line: name it so if it is that, or make it so (jq -c '.[]')",
    ".arrow": "is an Arrow table: write it as .parquet",
    ".feather": "is an Arrow table: write it as .parquet",
    **dict.fromkeys((".zip", ".tar", ".tgz", ".zst", ".bz2", ".xz", ".7z"), UNPACK),
}
"""Files that are data and are not read, with what to do about it."""


def ending(name: str) -> str:
    """The last ending of a file's name before `.gz`, in lower case."""
    return PurePath(name.lower().removesuffix(PACKED)).suffix


def kind_of(name: str) -> str | None:
    """How a file of this name is read, such as `jsonl.gz`; None for a name that says nothing."""
    kind = KINDS.get(ending(name))
    return kind and kind + (PACKED if name.lower().endswith(PACKED) else "")


def documents(file: Path, kind: str, content: bytes, key: str) -> Iterator[str]:
    """Yield the documents of one file, "" for each that is empty; raise UserError that names the file and the place."""
    if kind.endswith(PACKED):
        content = _unpacked(file, content)
    names = [alternative.split("+") for alternative in key.split("|")]
    match kind.removesuffix(PACKED):
        case "parquet":
            yield from _rows(file, content, names)
        case "jsonl":
            yield from _lines(file, _decoded(file, content), names)
        case _:
            yield _unless_blank(_decoded(file, content))


def refuse_binary(file: Path, content: bytes) -> None:
    """Raise UserError for what is no text."""
    if b"\0" in content:
        raise UserError(f"{file}: is binary (byte {content.index(0)} is zero); the data must be UTF-8 text.")


def _unpacked(file: Path, content: bytes) -> bytes:
    most = _room(content)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            text = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: is no whole gzip file ({error}).") from None
    if len(text) > most:
        raise _too_large(file, most)
    return text


def _room(content: bytes) -> int:
    return min(MOST_BYTES, max(LEAST_ROOM, MOST_RATIO * len(content)))


def _too_large(file: Path, most: int) -> UserError:
    return UserError(f"{file}: unpacks to more than {most:,} bytes, which no text of its size does.")


def _decoded(file: Path, content: bytes) -> str:
    """The text in a file, without a byte-order mark."""
    refuse_binary(file, content)
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text (byte {error.start} cannot be decoded).") from None


def _lines(file: Path, text: str, names: list[list[str]]) -> Iterator[str]:
    """Yield the document of each line that is not blank; in JSON lines only a newline ends a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number}: is not JSON ({error}).") from None
        yield _document(f"{file}, line {number}", entry, names)


def _rows(file: Path, content: bytes, names: list[list[str]]) -> Iterator[str]:
    """Yield the document of each row of a parquet file; only the columns of the text are read."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"{file}: needs the package pyarrow, which is not installed; in a checkout: pip install '.[parquet]'."
        )
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number, left = 0, _room(content)
    try:
        table = ParquetFile(pyarrow.BufferReader(content))
        columns = dict.fromkeys(table.schema_arrow.names)
        wanted = next((some for some in names if columns.keys() >= set(some)), None)
        if wanted is None:
            raise _no_text(str(file), columns, names)
        for batch in table.iter_batches(batch_size=256, columns=wanted, use_threads=False):
            left -= batch.nbytes
            if left < 0:
                raise _too_large(file, _room(content))
            for row in batch.to_pylist():
                number += 1
                yield _document(f"{file}, row {number}", row, names)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is no whole parquet file (after row {number}: {_first_line(error)}).") from None


def _document(place: str, entry: object, names: list[list[str]]) -> str:
    """The text of one line or row, "" where it is empty."""
    found = next((some for some in names if isinstance(entry, dict) and entry.keys() >= set(some)), None)
    if not isinstance(entry, dict) or found is None:
        raise _no_text(place, entry, names)
    parts = [entry[name] for name in found]
    for name, part in zip(found, parts, strict=True):
        if part is not None and not (isinstance(part, str) and not HALF.search(part)):
            raise UserError(f'{place}: "{visible(name)}" must be Unicode text; it is {_shown(part)}.')
    texts = [_unless_blank(part or "") for part in parts]
    return "\n".join(texts) if all(texts) else ""


def _no_text(place: str, entry: object, names: list[list[str]]) -> UserError:
    """What to say where no key of the text is found."""
    wanted = ", or ".join(" and ".join(f'"{visible(name)}"' for name in some) for some in names)
    if not isinstance(entry, dict):
        return UserError(f"{place}: must be an object with {wanted}; it is {_shown(entry)}.")
    keys = [f'"{visible(str(key)[:64])}"' for key in entry]
    more = f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
    return UserError(
        f"{place}: must hold {wanted}; it has {', '.join(keys[:SHOWN]) or 'no keys'}{more}: "
        "name what is the text with --data-key (data.text_key)."
    )


def _unless_blank(text: str) -> str:
    return text if text.strip() else ""


def _shown(value: object) -> str:
    """The kind of a value in the words of JSON."""
    kinds: Mapping[type, str] = {
        str: "text with half a character",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return kinds.get(type(value), f"of type {type(value).__name__}")


def _first_line(error: Any) -> str:
    return visible(str(error).partition("\n")[0])

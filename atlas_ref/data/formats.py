"""What is in a file of data: plain text, JSON lines or parquet, each as it is or packed by gzip.

    .txt .md     one document
    .jsonl       a document a line: what stands under the key of the text
    .parquet     a document a row: what stands in the column of the text
    .json        one list, a document an object of it; only where the file itself is named
    .gz          behind any of them: unpacked, within bounds

The key is `data.text_key`: names that are joined by `+` give one document of their texts with a newline between, and
`|` separates what is tried in turn, so `text|question+answer` takes "text" where there is one. A document whose text,
or a part of it, is blank or null is empty: it is yielded as "" and left to the caller to count. What has several such
keys, a prompt and its answer for instance (`answers`), is read by `records` and `text_under`.
"""

import gzip
import importlib.util
import io
import json
import math
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from atlas_ref.errors import UserError
from atlas_ref.wording import visible

KINDS = {".txt": "text", ".md": "text", ".jsonl": "jsonl", ".parquet": "parquet"}
"""How a file is read, by the end of its name in any case."""
LIST = ".json"
"""The end of a file that is one list; in a folder of data it is a description more often, and is left out."""
PACKED = ".gz"
MOST_BYTES = 2**32
"""The largest file that is read, packed or not; documents and tokens are kept in memory."""
LEAST_ROOM, MOST_RATIO = 2**26, 100
"""A packed file may unpack to this many bytes, or to this many times its own size: text shrinks to a tenth or so."""
HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can write and UTF-8 cannot."""
EXACT = 2**53
"""Below it every integer is a number of JSON, read as a float or not."""
SHOWN = 6
"""Most keys that a message names."""

TABLE = "is a table, and its separators would be trained on: write it as .parquet, or as .jsonl with an object a line"
UNPACK = "is packed: unpack it first; of packed files only .gz is read"
HINTS = {
    ".csv": TABLE,
    ".tsv": TABLE,
    ".arrow": "is an Arrow table: write it as .parquet",
    ".feather": "is an Arrow table: write it as .parquet",
    **dict.fromkeys((".zip", ".tar", ".tgz", ".zst", ".bz2", ".xz", ".7z"), UNPACK),
}
"""Files that are data and are not read, with what to do about it."""


class Key(NamedTuple):
    """Under what names a text may stand, and what a user should do when it stands under none."""

    alternatives: list[list[str]]
    advice: str

    @classmethod
    def of(cls, text: str, advice: str) -> "Key":
        """Read a key as it is configured: `|` separates alternatives, `+` joins the names of one."""
        return cls([alternative.split("+") for alternative in text.split("|")], advice)

    def found(self, names: Collection[str]) -> list[str] | None:
        """The first alternative of which all names are there."""
        return next((some for some in self.alternatives if set(names) >= set(some)), None)


def ending(name: str) -> str:
    """The last ending of a file's name before `.gz`, in lower case."""
    return PurePath(name.lower().removesuffix(PACKED)).suffix


def kind_of(name: str) -> str | None:
    """How a file of this name is read, such as `jsonl.gz`; None for a name that says nothing."""
    kind = KINDS.get(ending(name))
    return kind and kind + (PACKED if name.lower().endswith(PACKED) else "")


def documents(file: Path, kind: str, content: bytes, key: str) -> Iterator[str]:
    """Yield the documents of one file, "" for each that is empty; raise UserError that names the file and the place."""
    if kind.removesuffix(PACKED) == "text":
        text = _decoded(file, _unpacked(file, content) if kind.endswith(PACKED) else content)
        yield _unless_blank(text)
    else:
        text_key = Key.of(key, "name what is the text with --data-key (data.text_key)")
        for place, entry in records(file, kind, content, text_key):
            yield text_under(place, entry, text_key)


def records(file: Path, kind: str, content: bytes, *keys: Key) -> Iterator[tuple[str, object]]:
    """Yield what is in the lines or rows of one file, each with its place; of parquet only the columns of the keys."""
    if kind.endswith(PACKED):
        content = _unpacked(file, content)
    if kind.removesuffix(PACKED) == "parquet":
        yield from _rows(file, content, keys)
    elif kind.removesuffix(PACKED) == "json":
        yield from _entries(file, _decoded(file, content))
    else:
        yield from _lines(file, _decoded(file, content))


def text_under(place: str, entry: object, key: Key, *, numbers: bool = False) -> str:
    """The text that one line or row has under a key, "" where it, or a part of it, is blank or null.

    With `numbers` a finite number is text too, written as an integer where it is one (51.0 as 51). Raises UserError
    that names the place and the field.
    """
    found = key.found(entry.keys()) if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or found is None:
        raise _no_text(place, entry, [key])
    texts = []
    for name in found:
        part = written_number(entry[name]) if numbers else entry[name]
        if part is not None and not (isinstance(part, str) and not HALF.search(part)):
            what = "Unicode text or a finite number" if numbers else "Unicode text"
            raise UserError(f'{place}: "{visible(name)}" must be {what}; it is {shown_kind(part)}.')
        texts.append(_unless_blank(part or ""))
    return "\n".join(texts) if all(texts) else ""


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


def _lines(file: Path, text: str) -> Iterator[tuple[str, object]]:
    """Yield each line that is not blank; in JSON lines only a newline ends a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number}: is not JSON ({error}).") from None
        yield f"{file}, line {number}", entry


def _entries(file: Path, text: str) -> Iterator[tuple[str, object]]:
    """Yield each entry of the one list that a file is; entries are parsed one by one, so that one is held at a time."""
    decoder, blank = json.JSONDecoder(), re.compile(r"[ \t\n\r]*+")
    at = _after(blank, text, 0)
    if not text.startswith("[", at):
        raise UserError(f"{file}: must be one list, [{{...}}, {{...}}]; a file with an object a line is named .jsonl.")
    number, at = 0, _after(blank, text, at + 1)
    closed = text.startswith("]", at)
    while not closed:
        number += 1
        try:
            entry, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, entry {number}: is not JSON ({first_line(error)}).") from None
        yield f"{file}, entry {number}", entry
        at = _after(blank, text, at)
        closed = text.startswith("]", at)
        if not closed and not text.startswith(",", at):
            raise UserError(f"{file}, entry {number}: must be followed by a comma or the end of the list.")
        at = at if closed else _after(blank, text, at + 1)
    if _after(blank, text, at + 1) != len(text):
        raise UserError(f"{file}: goes on behind the end of its list.")


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where what a pattern finds at a place ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _rows(file: Path, content: bytes, keys: Sequence[Key]) -> Iterator[tuple[str, object]]:
    """Yield each row of a parquet file; only the columns of the keys are read."""
    require_pyarrow(file)
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number, left = 0, _room(content)
    try:
        table = ParquetFile(pyarrow.BufferReader(content))
        columns = dict.fromkeys(table.schema_arrow.names)
        found = [key.found(columns) for key in keys]
        if missing := [key for key, some in zip(keys, found, strict=True) if some is None]:
            raise _no_text(str(file), columns, missing)
        wanted = dict.fromkeys(name for some in found for name in some or ())
        for batch in table.iter_batches(batch_size=256, columns=[*wanted], use_threads=False):
            left -= batch.nbytes
            if left < 0:
                raise _too_large(file, _room(content))
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is no whole parquet file (after row {number}: {first_line(error)}).") from None


def require_pyarrow(file: Path) -> None:
    """Raise UserError where parquet cannot be read."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"{file}: needs the package pyarrow, which is not installed; in a checkout: pip install '.[parquet]'."
        )


def _no_text(place: str, entry: object, missing: Sequence[Key]) -> UserError:
    """What to say where a key finds nothing."""
    alternatives = missing[0].alternatives
    wanted = ", or ".join(" and ".join(f'"{visible(name)}"' for name in some) for some in alternatives)
    if not isinstance(entry, dict):
        return UserError(f"{place}: must be an object with {wanted}; it is {shown_kind(entry)}.")
    keys = [f'"{visible(str(key)[:64])}"' for key in entry]
    more = f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
    return UserError(
        f"{place}: must hold {wanted}; it has {', '.join(keys[:SHOWN]) or 'no keys'}{more}: {missing[0].advice}."
    )


def written_number(value: object) -> object:
    """A finite number as text, anything else as it is."""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _unless_blank(text: str) -> str:
    return text if text.strip() else ""


def shown_kind(value: object) -> str:
    """The kind of a value in the words of JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
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


def first_line(error: Any) -> str:
    """What an error says, on one line that a terminal only shows."""
    return visible(str(error).partition("\n")[0])

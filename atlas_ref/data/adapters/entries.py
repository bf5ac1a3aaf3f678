"""The rows of one file, one after another: memory grows with the longest row, or row group, and not with the file.

.parquet            a row a row, in batches
.jsonl .jsonl.gz    an object a line
.json .json.gz      one list of objects, or an object a line, which some mirrors name so
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from atlas_ref.data.formats import LIST, PACKED, ending, first_line, kind_of, require_pyarrow
from atlas_ref.errors import UserError
from atlas_ref.reading import opened

MOST_ROW = 2**26
"""Bytes of a line, and characters of an entry of a list; a row of these sets has a thousandth of it."""
LOOK = 2**16
"""Characters of a list that are read at a time, and bytes that say whether a file is one."""
BLANK = " \t\r\n"
ROWS = 64
"""Rows of parquet that are made at a time."""


def row_kind(name: str) -> str | None:
    """How a file of this name is read, such as `jsonl.gz`; None for a name that is not of rows."""
    kind = "json" + (PACKED if name.lower().endswith(PACKED) else "") if ending(name) == LIST else kind_of(name)
    return None if kind is None or kind.startswith("text") or kind == "parquet" + PACKED else kind


def entries(file: Path) -> Iterator[tuple[str, object]]:
    """Yield each row of a file with its place; raise UserError that names the file, and the row where there is one."""
    kind = row_kind(file.name)
    if kind == "parquet":
        yield from _parquet(file)
        return
    with ExitStack() as stack:
        stream = stack.enter_context(opened(file))
        if kind is not None and kind.endswith(PACKED):
            stream = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=stream)))
        try:
            yield from _listed(file, stream) if kind is not None and _is_list(stream) else _lines(file, stream)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{file}: cannot be read to its end ({first_line(error)}).") from None
        except UnicodeDecodeError:
            raise UserError(f"{file}: is not UTF-8 text.") from None


def _is_list(stream: BinaryIO) -> bool:
    found = stream.read(LOOK).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    stream.seek(0)
    return found


def _lines(file: Path, stream: BinaryIO) -> Iterator[tuple[str, object]]:
    number = 0
    while line := stream.readline(MOST_ROW + 1):
        number += 1
        place = f"{file}, line {number}"
        if len(line) > MOST_ROW:
            raise UserError(f"{place}: has more than {MOST_ROW:,} bytes, too many for a row.")
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if text.strip():
            yield place, _parsed(place, text)


def _parsed(place: str, text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: is not JSON ({first_line(error)}).") from None
    return value


def _listed(file: Path, stream: BinaryIO) -> Iterator[tuple[str, object]]:
    """Yield the entries of the one list that a file is; what is read ahead doubles until an entry is whole."""
    text, decoder, number = codecs.getreader("utf-8-sig")(stream), json.JSONDecoder(), 0
    ahead, wanted, mark = "", LOOK, "["
    while True:
        ahead = _filled(text, ahead, wanted)
        inside = ahead[1:].lstrip(BLANK)
        closed = ahead if mark == "," else inside
        if closed.startswith("]"):
            break
        if not ahead.startswith(mark):
            raise UserError(f"{file}, entry {number}: must be followed by a comma or the end of the list.")
        try:
            value, end = decoder.raw_decode(inside)
        except (ValueError, RecursionError) as error:
            if wanted <= min(len(ahead), MOST_ROW) and not isinstance(error, RecursionError):
                wanted *= 2
                continue
            raise UserError(f"{file}, entry {number + 1}: is not JSON ({first_line(error)}).") from None
        number += 1
        yield f"{file}, entry {number}", value
        ahead, wanted, mark = inside[end:], LOOK, ","
    if closed[1:].strip(BLANK):
        raise UserError(f"{file}: goes on behind the end of its list.")


def _filled(text: codecs.StreamReader, ahead: str, wanted: int) -> str:
    """What was read ahead without blanks at its beginning, with so many characters or all that there are."""
    ahead = ahead.lstrip(BLANK)
    while len(ahead) < wanted and (part := text.read(LOOK)):
        ahead = (ahead + part).lstrip(BLANK)
    return ahead


def _parquet(file: Path) -> Iterator[tuple[str, object]]:
    require_pyarrow(file)
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with opened(file) as stream, ParquetFile(stream, pre_buffer=False) as table:
            for batch in table.iter_batches(batch_size=ROWS, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is no whole parquet file (after row {number}: {first_line(error)}).") from None

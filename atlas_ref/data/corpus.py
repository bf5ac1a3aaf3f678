"""Texts to train on: the shipped plays, or any file or folder of documents (`formats`, `folder`).

Nothing is skipped in silence: empty documents are counted, what is left out of a folder is listed, and a file that is
binary, unreadable or not what its name says is refused by its name.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from atlas_ref.data.build_shakespeare import PAGE_BREAK
from atlas_ref.data.folder import LeftOut, files_below
from atlas_ref.data.formats import HINTS, LIST, MOST_BYTES, PACKED, documents, ending, kind_of, refuse_binary
from atlas_ref.data.identity import FileIdentity
from atlas_ref.errors import UserError
from atlas_ref.reading import opened
from atlas_ref.wording import visible

LOOK = 2**16
"""Bytes that are looked at before the whole of a file is read."""


class Corpus(NamedTuple):
    """Documents in the order of their files, what messages call them, and what was not taken."""

    name: str
    documents: list[str]
    files: list[FileIdentity]
    left_out: list[LeftOut]
    empty: int
    """Documents without text, which are skipped."""

    def twice(self) -> list[list[str]]:
        """The names of files that hold the same, byte for byte, together."""
        return files_twice(self.files)


def files_twice(files: Sequence[FileIdentity]) -> list[list[str]]:
    """The names of files that hold the same, byte for byte, together."""
    same: dict[str, list[str]] = defaultdict(list)
    for file in files:
        same[file.sha256].append(file.name)
    return [names for names in same.values() if len(names) > 1]


def shipped_corpus() -> Corpus:
    """The plays that come with the package; each is a document."""
    content = (resources.files("atlas_ref") / "data" / "shakespeare.txt").read_bytes()
    file = _identity("shakespeare.txt", "text", content)
    return Corpus("the shipped text", content.decode().split(PAGE_BREAK), [file], [], 0)


def read_corpus(path: str, text_key: str) -> Corpus:
    """The documents at a path: a file, or the files of a folder and of its folders in the order of their names.

    A file is named by its reader, so it may have any name; without an ending that says more it is plain text. Raises
    UserError that names the file, and the line or row where there is one.
    """
    corpus, empty = Corpus(path, [], [], [], 0), 0
    for file, content, identity in read_files(path, corpus.left_out):
        corpus.files.append(identity)
        for document in documents(file, identity.kind, content, text_key):
            if document:
                corpus.documents.append(document)
            else:
                empty += 1
    if not corpus.documents:
        raise UserError(f"{path}: is empty; the data must hold some text.")
    return corpus._replace(empty=empty)


def read_files(path: str, left_out: list[LeftOut]) -> Iterator[tuple[Path, bytes, FileIdentity]]:
    """Yield the files at a path, each with what is in it, and add to `left_out` what is there and not read."""
    root = Path(path)
    try:
        files, others = files_below(root) if root.is_dir() else ([root], [])
        left_out += others
        for file in files:
            kind = kind_of(file.name) or _kind_of_a_named_file(file)
            content = _content(file, kind)
            name = file.name if file == root else file.relative_to(root).as_posix()
            yield file, content, _identity(name, kind, content)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None


def _kind_of_a_named_file(file: Path) -> str:
    """How a file is read that no folder is searched for; raise UserError for one that is known and not read."""
    packed = PACKED if file.name.lower().endswith(PACKED) else ""
    if ending(file.name) == LIST:
        return "json" + packed
    if hint := HINTS.get(ending(file.name)):
        raise UserError(f"{file}: {hint}; to train on its text as it is, name it .txt.")
    return "text" + packed


def _content(file: Path, kind: str) -> bytes:
    """The bytes of a file; what shows at its beginning that it is no text is not read to its end."""
    with opened(file) as stream:
        if os.fstat(stream.fileno()).st_size > MOST_BYTES:
            raise UserError(f"{file}: has more than {MOST_BYTES:,} bytes, more than is read of one file; split it.")
        if kind in ("text", "jsonl", "json"):
            refuse_binary(file, stream.read(LOOK))
            stream.seek(0)
        return stream.read(MOST_BYTES)


def _identity(name: str, kind: str, content: bytes) -> FileIdentity:
    return FileIdentity(name=visible(name), kind=kind, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

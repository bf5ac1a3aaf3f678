"""Texts to train on: the shipped plays, or any UTF-8 file, JSONL file or folder. A corpus is a list of documents.

Nothing is skipped in silence: a file that is empty, binary, unreadable or not UTF-8 is refused by its name, and so is a
line of JSONL that holds no text.
"""

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from atlas_ref.data.build_shakespeare import PAGE_BREAK
from atlas_ref.data.identity import FileIdentity, visible
from atlas_ref.errors import UserError

SUFFIXES = (".jsonl", ".md", ".txt")
"""Endings of the files that are read from a folder."""


class Corpus(NamedTuple):
    """Documents in the order of their files, and what messages call them."""

    name: str
    documents: list[str]
    files: list[FileIdentity]


def shipped_corpus() -> Corpus:
    """The plays that come with the package; each is a document."""
    content = (resources.files("atlas_ref") / "data" / "shakespeare.txt").read_bytes()
    file = _identity("shakespeare.txt", "text", content)
    return Corpus("the shipped text", content.decode().split(PAGE_BREAK), [file])


def read_corpus(path: str) -> Corpus:
    """The documents at a path.

    A folder gives its .txt, .md and .jsonl files, those of its folders too, in the order of their names. A .jsonl file
    gives a document a line: its "text", or its "question" and "answer" with a newline between. Every other file is one
    document. Raises UserError that names the file, and the line where there is one.
    """
    root = Path(path)
    try:
        corpus = Corpus(path, [], [])
        for file in _files_below(root) if root.is_dir() else [root]:
            content = _content(file)
            name = file.name if file == root else file.relative_to(root).as_posix()
            corpus.files.append(_identity(name, "jsonl" if file.suffix == ".jsonl" else "text", content))
            corpus.documents.extend(_documents(file, content))
        return corpus
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None


def _files_below(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise UserError(f"{folder}: holds no file that ends in {', '.join(SUFFIXES)}.")
    return files


def _identity(name: str, kind: str, content: bytes) -> FileIdentity:
    return FileIdentity(name=visible(name), kind=kind, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _content(file: Path) -> bytes:
    # A pipe or a device could be endless, so only a plain file is opened; a missing one fails in read_bytes.
    if file.exists() and not file.is_file():
        raise UserError(f"{file}: is neither a plain file nor a folder.")
    return file.read_bytes()


def _documents(file: Path, content: bytes) -> list[str]:
    """The documents of one file."""
    text = _decoded(file, content)
    return list(_lines_of_json(file, text)) if file.suffix == ".jsonl" else [text]


def _decoded(file: Path, content: bytes) -> str:
    """The text in a file, without a byte-order mark."""
    if b"\0" in content:
        raise UserError(f"{file}: is binary (byte {content.index(0)} is zero); the data must be UTF-8 text.")
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text (byte {error.start} cannot be decoded).") from None
    if not text.strip():
        raise UserError(f"{file}: is empty; the data must hold some text.")
    return text


def _lines_of_json(file: Path, text: str) -> Iterator[str]:
    """Yield the document of each line that is not blank."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number}: is not JSON ({error}).") from None
        document = _document(entry)
        if document is None:
            raise UserError(
                f'{file}, line {number}: must be an object with a "text", or with a "question" and an "answer", '
                "whose values are Unicode text and not empty."
            )
        yield document


def _document(entry: object) -> str | None:
    """The text of one JSON value, or None if it has none."""
    if not isinstance(entry, dict):
        return None
    parts = [entry["text"]] if "text" in entry else [entry.get("question"), entry.get("answer")]
    texts = [part for part in parts if isinstance(part, str) and part.strip() and _is_unicode(part)]
    return "\n".join(texts) if len(texts) == len(parts) else None


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

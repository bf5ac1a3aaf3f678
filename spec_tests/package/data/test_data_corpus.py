"""Texts: the shipped plays, files and folders, and the refusal of bad data by the name of its file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas_ref.data.build_shakespeare import plain_text
from atlas_ref.data.corpus import read_corpus, shipped_corpus
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from spec_tests.package.micro.data_inputs import KEY, text_config


def test_the_shipped_text_is_three_plays_without_mark_up() -> None:
    texts = shipped_corpus().documents

    assert [text.split("\n", 1)[0] for text in texts] == ["HAMLET", "MACBETH", "A MIDSUMMER NIGHT'S DREAM"]
    assert 300_000 < sum(len(text.encode()) for text in texts) < 400_000
    assert not set("".join(texts)) & set("_*\\<>#|`~\t\r\f")
    assert all(text.isascii() and text.endswith("\n") and " \n" not in text for text in texts)
    assert "To be, or not to be: that is the question:\n" in texts[0]


def test_mark_up_becomes_plain_text() -> None:
    markdown = (
        "# Hamlet\n\n## ACT I\n\n_Enter KING,\nand others_\n\n"
        "**KING**  \n_\\[Aside]_  \nO, '\\--no, & c.\n\n\n\n__\\[Reads]_\n"
    )
    plain = "HAMLET\n\nACT I\n\n[Enter KING,\nand others]\n\nKING\n[Aside]\nO, '--no, &c.\n\n[Reads]\n"

    assert plain_text(markdown) == plain


def test_a_folder_gives_its_text_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.txt", "a.txt", "c.jsonl", "skipped.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "json"}\n\n{"question": "q", "answer": "a"}\n' if "c." in name else name)

    assert read_corpus(str(tmp_path), KEY).documents == ["a/z.txt", "a.txt", "b.md", "json", "q\na"]


def test_a_file_is_read_byte_for_byte_but_for_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffeins\r\nzwei\u2028".encode())

    assert read_corpus(str(path), KEY).documents == ["eins\r\nzwei\u2028"]


def test_lines_of_json_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"text": "a\u2028b"}\r\n{"text": "c"}', newline="")

    assert read_corpus(str(path), KEY).documents == ["a\u2028b", "c"]


def _folder(path: Path) -> None:
    path.mkdir()


def _folder_with(name: str, content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(content)

    return make


def _folder_of(name: str, content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "good.txt").write_text("text " * 1000)
        (path / name).write_bytes(content)

    return make


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("x.txt", lambda path: None, "does not exist"),
    "empty": ("x.txt", lambda path: path.write_bytes(b""), "is empty"),
    "only a byte-order mark": ("x.txt", lambda path: path.write_bytes(b"\xef\xbb\xbf"), "is empty"),
    "blank": ("x.txt", lambda path: path.write_text(" \n\t\n"), "is empty"),
    "binary": ("x.bin", lambda path: path.write_bytes(b"PK\x03\x04\0\0"), "is binary (byte 4 is zero)"),
    "UTF-16": ("x.txt", lambda path: path.write_text("text", encoding="utf-16"), "is binary"),
    "Latin-1": ("x.txt", lambda path: path.write_bytes(b"caf\xe9 noir"), "is not UTF-8 text (byte 3 cannot"),
    "pipe": ("x.txt", lambda path: os.mkfifo(path), "is not a regular file"),
    "device": ("x.txt", lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "empty folder": ("x", _folder, "holds no file that ends in .txt, .md, .jsonl, .parquet"),
    "folder of others": ("x", _folder_with("a.csv", b"a"), "holds no file that ends in .txt, .md, .jsonl, .parquet"),
    "folder of nothing": ("x", _folder_with("a.txt", b""), "is empty"),
    "binary file in a folder": ("x", _folder_of("y.txt", b"a\0"), "/y.txt: is binary"),
    "name too long": ("x" * 300, lambda path: None, "cannot be read (File name too long)"),
    "too short to train on": ("x.txt", lambda path: path.write_text("a" * 60), "its training part has 49 tokens"),
    "too short to validate on": ("x.txt", lambda path: path.write_text("a" * 89), "its validation part has 19 tokens"),
    "not JSON": ("x.jsonl", lambda path: path.write_text('{"text": "a"}\n{"text"\n'), ", line 2: is not JSON"),
    "no object": ("x.jsonl", lambda path: path.write_text('\n\n["a"]\n'), ", line 3: must be an object"),
    "no text": ("x.jsonl", lambda path: path.write_text('{"title": "a"}\n'), ', line 1: must hold "text"'),
    "half a question": ("x.jsonl", lambda path: path.write_text('{"question": "a"}\n'), ', line 1: must hold "text"'),
    "text is a number": (
        "x.jsonl",
        lambda path: path.write_text('{"text": 1}\n'),
        "must be Unicode text; it is a number",
    ),
    "half a character": ("x.jsonl", lambda path: path.write_text('{"text": "\\ud800"}'), "it is text with half a"),
    "bottomless JSON": ("x.jsonl", lambda path: path.write_text("[" * 100_000), ", line 1: is not JSON"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_is_refused_by_the_name_of_its_file(kind: str, tmp_path: Path) -> None:
    name, make, complaint = BAD[kind]
    path = tmp_path / name
    make(path)

    with pytest.raises(UserError) as caught:
        open_source(text_config(str(path), "model.memory.chunk=7"))

    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)


def test_an_unreadable_file_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of the file system is feigned: a test that runs as root may read everything."""
    path = tmp_path / "secret.txt"
    path.write_text("text " * 1000)

    def refuse(name: Path, flags: int, mode: int) -> int:
        raise PermissionError(13, "Permission denied", str(name))

    config = text_config(str(path))
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"secret.txt: cannot be read \(Permission denied\)"):
        open_source(config)

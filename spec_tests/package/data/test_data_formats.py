"""Data as people have them: every form of a text gives the same documents, and what is not taken is said."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow.parquet import write_table

from atlas_ref.config import load_config
from atlas_ref.data import formats
from atlas_ref.data.corpus import Corpus, read_corpus
from atlas_ref.data.folder import LeftOut
from atlas_ref.data.streams import repeated
from atlas_ref.errors import UserError
from spec_tests.package.micro.data_inputs import KEY

DOCUMENTS = ["one\ntwo\u2028drei", "\tvier ", "fünf " * 600]


def as_lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"n": 1, "text": text}) + "\n" for text in texts).encode()


def as_table(texts: list[str | None], kind: pyarrow.DataType | None = None, group: int = 2) -> bytes:
    column = pyarrow.array(texts, pyarrow.string())
    if kind is not None:
        column = column.cast(kind)
    sink = pyarrow.BufferOutputStream()
    write_table(pyarrow.table({"n": range(len(texts)), "text": column}), sink, row_group_size=group)
    return bytes(sink.getvalue())


FORMS: dict[str, Callable[[], bytes]] = {
    "x.jsonl": lambda: as_lines(DOCUMENTS),
    "x.JSONL.GZ": lambda: gzip.compress(as_lines(DOCUMENTS[:1])) + gzip.compress(as_lines(DOCUMENTS[1:])),
    "x.parquet": lambda: as_table([*DOCUMENTS]),
    "x large.Parquet": lambda: as_table([*DOCUMENTS], pyarrow.large_string()),
    "x categories.parquet": lambda: as_table([*DOCUMENTS], pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
    "x.parquet.gz": lambda: gzip.compress(as_table([*DOCUMENTS])),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_documents_are_the_same_in_every_form(name: str, in_a_folder: bool, tmp_path: Path) -> None:
    """Kills: an ending in capitals, a second gzip member, a second row group or a type of text that is passed over."""
    (tmp_path / name).write_bytes(FORMS[name]())

    assert read_corpus(str(tmp_path if in_a_folder else tmp_path / name), KEY).documents == DOCUMENTS


@pytest.mark.parametrize("name", ["x.txt", "x.TXT", "x.Md", "x.txt.gz", "x", "x.log", "x.log.gz"])
def test_a_text_is_one_document_whatever_its_name(name: str, tmp_path: Path) -> None:
    content = b"eins\nzwei\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    assert read_corpus(str(tmp_path / name), KEY).documents == ["eins\nzwei\n"]


ENTRY = {"text": "t", "body": "b", "title": "h", "question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("key", "without", "document"),
    [
        (KEY, (), "t"),
        (KEY, ("text",), "q\na"),
        ("body", (), "b"),
        ("title+body", (), "h\nb"),
        ("body+title", (), "b\nh"),
        ("none|title+none|body", (), "b"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_key_says_what_is_the_text(
    form: str, key: str, without: tuple[str, ...], document: str, tmp_path: Path
) -> None:
    """Kills: a key that one of the formats does not ask for."""
    entry = {name: text for name, text in ENTRY.items() if name not in without}
    path = tmp_path / f"x.{form}"
    if form == "jsonl":
        path.write_text(json.dumps(entry))
    else:
        write_table(pyarrow.table({name: [text] for name, text in entry.items()}), path)

    assert read_corpus(str(path), key).documents == [document]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_key_that_is_not_there_is_refused_with_those_that_are(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{form}"
    path.write_bytes(as_lines(["a"]) if form == "jsonl" else as_table(["a"]))

    with pytest.raises(UserError) as caught:
        read_corpus(str(path), "body|title+body")
    assert 'must hold "body", or "title" and "body"; it has "n", "text": name what' in str(caught.value)
    assert "--data-key" in str(caught.value)


@pytest.mark.parametrize("key", ["", "a||b", "+a", "a+", "|"])
def test_a_key_without_a_name_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=r"data\.text_key"):
        load_config("tiny", [f"data.text_key={json.dumps(key)}"])


def test_empty_documents_are_skipped_and_counted(tmp_path: Path) -> None:
    """Kills: one blank line in a thousand documents that ends the command, and one that becomes a document."""
    lines = ('{"text": "a"}', '{"text": " \\n"}', '{"text": null}', '{"question": "q", "answer": ""}')
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "b.parquet").write_bytes(as_table([None, "b", ""]))
    (tmp_path / "c.txt").write_text("\n")
    corpus = read_corpus(str(tmp_path), KEY)

    assert corpus.documents == ["a", "b"]
    assert corpus.empty == 3 + 2 + 1


@pytest.fixture
def mixed(tmp_path: Path) -> Corpus:
    """A folder with all that a folder may hold, read."""
    root = tmp_path / "mixed"
    for name in ("a.txt", "b.TXT", "c/d.md", "._a.txt", ".hidden/e.txt", ".ipynb_checkpoints/a-checkpoint.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{name} text")
    for name in ("t.csv", "README", "c/m.bin"):
        (root / name).write_text("not text")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.txt").write_text("f.txt text")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "g.txt").symlink_to(tmp_path / "elsewhere" / "f.txt")
    (root / "loop.txt").symlink_to(root / "loop.txt")
    os.mkfifo(root / "pipe.txt")
    return read_corpus(str(root), KEY)


def test_a_folder_is_read_but_for_what_is_listed_with_its_reason(mixed: Corpus) -> None:
    """Kills: hidden folders that are read, links that are followed, and whatever is passed over without a word."""
    assert mixed.documents == ["a.txt text", "b.TXT text", "c/d.md text", "f.txt text"]
    assert mixed.left_out == [
        LeftOut("._a.txt", "hidden"),
        LeftOut(".hidden", "hidden"),
        LeftOut(".ipynb_checkpoints", "hidden"),
        LeftOut("README", "has no ending"),
        LeftOut("c/m.bin", "ends in .bin"),
        LeftOut("folder", "a link to a folder"),
        LeftOut("loop.txt", "no plain file"),
        LeftOut("pipe.txt", "no plain file"),
        LeftOut("t.csv", "ends in .csv"),
    ]


def test_a_file_that_is_there_twice_is_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt", "d.md"):
        (tmp_path / name).write_text("other" if name == "c.txt" else "same")

    assert read_corpus(str(tmp_path), KEY).twice() == [["a.txt", "b.txt", "d.md"]]


def test_documents_that_are_trained_and_validated_on_are_counted() -> None:
    """Kills: comparing the halves of the document that the cut goes through, of which no other is a copy."""
    assert repeated(["aaaa", "bbbb", "aaaa", "cccc"], 0.5) == (1, 2)
    assert repeated(["aaaa", "aaaa"], 0.25) == (1, 1)
    assert repeated(["aaaa", "bbbb", "cccc"], 0.5) == (0, 2)
    assert repeated(["aaaa"], 0.5) == (0, 1)


@pytest.mark.parametrize("name", ["x.csv", "x.TSV", "x.csv.gz", "x.zip", "x.jsonl.zst", "x.arrow"])
def test_data_of_another_kind_are_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    """Kills: training on the commas of a table."""
    (tmp_path / name).write_text("a,b\n" * 100)

    with pytest.raises(
        UserError, match=r"(\.parquet|\.jsonl|unpack it first).*; to train on its text as it is"
    ) as error:
        read_corpus(str(tmp_path / name), KEY)
    assert str(error.value).startswith(str(tmp_path / name))


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(as_table(["a"]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"x\.parquet: needs the package pyarrow.*pip install .\.\[parquet\]"):
        read_corpus(str(tmp_path), KEY)


@pytest.mark.parametrize("name", ["x.txt.gz", "x.parquet"])
def test_a_file_that_unpacks_to_far_more_than_it_is_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: unpacking without a bound; what passes at one hundred times its size is read."""
    texts: list[str | None] = ["a" * 1000] * 20_000
    content = gzip.compress(b"a" * 20_000_000) if name.endswith("gz") else as_table(texts, group=10**6)
    assert len(content) < 200_000
    (tmp_path / name).write_bytes(content)
    assert sum(map(len, read_corpus(str(tmp_path / name), KEY).documents)) == 20_000_000

    monkeypatch.setattr(formats, "LEAST_ROOM", 2**20)
    with pytest.raises(UserError, match=f"{name}: unpacks to more than"):
        read_corpus(str(tmp_path / name), KEY)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.parquet", "x.jsonl"])
def test_a_damaged_file_is_refused_by_its_name_or_read(name: str, tmp_path: Path) -> None:
    """Kills: errors of the packages that unpack, which are not errors of the user's."""
    texts = ["some text " * 20, "more " * 30]
    whole = {"x.jsonl.gz": gzip.compress(as_lines(texts)), "x.parquet": as_table([*texts]), "x.jsonl": as_lines(texts)}
    random = np.random.default_rng(3)
    refusals = []
    for case in range(60):
        content = bytearray(whole[name])
        if case % 3 == 0:
            del content[int(random.integers(len(content))) :]
        else:
            content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
        (tmp_path / name).write_bytes(content)
        try:
            read_corpus(str(tmp_path / name), KEY)
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(text.startswith(str(tmp_path / name)) and "\n" not in text for text in refusals)

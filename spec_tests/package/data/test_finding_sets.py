"""Sets in a folder are found by their names, each split is read once, and nothing is left out in silence.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import gzip
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.data.adapters import entries as entries_room
from atlas_ref.data.adapters.census import TOO_LONG, take_census
from atlas_ref.data.adapters.entries import entries
from atlas_ref.data.adapters.finding import find_sets
from atlas_ref.data.adapters.row import Example
from atlas_ref.errors import UserError
from spec_tests.package.data.answer_inputs import shared_file, write_rows
from spec_tests.package.data.set_rows import ROWS, changed


def laid(root: Path, *names: str) -> Path:
    """Make empty files of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path) -> dict[str, list[str]]:
    """Return the files of each part that is found."""
    return {
        f"{part.data_set.name} {part.split}": [file.relative_to(root).as_posix() for file in part.files]
        for part in find_sets(root).parts
    }


PUBLIC = {
    "gsm8k/main/train-00000-of-00001.parquet": "gsm8k train",
    "datasets--openai--gsm8k/main/test-00000-of-00001.parquet": "gsm8k test",
    "SVAMP.json": "svamp whole",
    "SVAMP/data/train-00000-of-00001-ab12.parquet": "svamp train",
    "EleutherAI___asdiv/validation.jsonl": "asdiv whole",
    "mbpp/sanitized/prompt-test.parquet": "mbpp test",
    "code_x_glue_ct_code_to_text/python/validation.parquet": "codexglue validation",
    "ai2_arc/ARC-Easy/train.parquet": "arc_easy train",
    "ARC-Challenge-Dev.jsonl": "arc_challenge validation",
    "strategyqa_train.json": "strategyqa train",
    "drop_dataset_dev.json": "drop validation",
    "hotpot_train_v1.1.json": "hotpotqa train",
    "hotpot_dev_distractor_v1.json": "hotpotqa validation",
    "google/boolq/train.jsonl.gz": "boolq train",
    "piqa/plain_text/test.parquet": "piqa test",
    "hellaswag_val.jsonl": "hellaswag validation",
    "wikitext/wikitext-103-raw-v1/train-00001-of-00002.parquet": "wikitext train",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_file_under_its_public_name_is_found_with_its_split(name: str, tmp_path: Path) -> None:
    """Kills: a split looked for in the last folder alone; versions and shards taken for more of the name."""
    assert found(laid(tmp_path, name)) == {PUBLIC[name]: [name]}


def test_a_folder_or_file_that_is_named_itself_says_what_it_is(tmp_path: Path) -> None:
    laid(tmp_path, "piqa/train.jsonl", "piqa/valid.jsonl")
    assert set(found(tmp_path / "piqa")) == {"piqa train", "piqa validation"}
    assert [part.split for part in find_sets(tmp_path / "piqa" / "valid.jsonl").parts] == ["validation"]
    assert found(laid(tmp_path, "piqa_test/data.jsonl") / "piqa_test") == {"piqa test": ["data.jsonl"]}


def test_nothing_is_read_twice_and_what_is_left_out_is_told_with_the_reason(tmp_path: Path) -> None:
    """Kills: a split trained on twice; a file of all rows beside its splits, which trains on the test split; a word of
    a longer name taken for a set; a description read as data.
    """
    laid(
        tmp_path,
        "gsm8k/main/train-00000-of-00002.parquet",
        "gsm8k/main/train-00001-of-00002.parquet",
        "gsm8k/socratic/train-00000-of-00001.parquet",
        "gsm8k/main/train.jsonl",
        "old/gsm8k/main/train.parquet",
        "svamp/train.json",
        "svamp/svamp.json",
        "piqa/dataset_info.json",
        "gsm8k_and_drop.jsonl",
        "dropbox.jsonl",
        "notes.txt",
        "boolq.parquet.gz",
    )
    assert found(tmp_path) == {
        "gsm8k train": [f"gsm8k/main/train-0000{number}-of-00002.parquet" for number in (0, 1)],
        "svamp train": ["svamp/train.json"],
    }
    assert dict(find_sets(tmp_path).left_out) == {
        "boolq.parquet.gz": "ends in .parquet",
        "dropbox.jsonl": "named after no set",
        "gsm8k/main/train.jsonl": "a copy of gsm8k train",
        "gsm8k/socratic/train-00000-of-00001.parquet": "gsm8k is read of its configuration main",
        "gsm8k_and_drop.jsonl": "named after gsm8k and drop",
        "notes.txt": "ends in .txt",
        "old/gsm8k/main/train.parquet": "a copy of gsm8k train",
        "piqa/dataset_info.json": "a description of data",
        "svamp/svamp.json": "no split in its name, where other files of svamp have one",
    }


def test_a_name_of_two_splits_is_that_which_is_never_trained_on(tmp_path: Path) -> None:
    assert set(found(laid(tmp_path, "piqa_train_test.jsonl"))) == {"piqa test"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("rows.jsonl", "holds none of the 14 sets"), ("notes.txt", "holds no file that ends in"), ("", "holds no file")],
)
def test_a_folder_without_any_set_is_refused(name: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(UserError, match=said):
        find_sets(laid(folder, name) if name else folder)


def test_a_place_that_is_not_there_or_not_of_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: does not exist; name a folder of data sets"):
        find_sets(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gsm8k\.txt: must end in \.parquet, \.jsonl or \.json"):
        find_sets(laid(tmp_path, "gsm8k.txt") / "gsm8k.txt")


VALUES: list[dict[str, Any]] = [{"a": " x ] , [ "}, {"b": [1, {"c": "é\n"}]}, {}, {"d": "y" * 50}]


@pytest.mark.parametrize("look", [4, 7, 1000])
@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz", "rows.jsonl", "rows.jsonl.gz", "lines.json"])
def test_rows_are_read_whole_however_little_is_looked_at_at_a_time(
    name: str, look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: blanks inside a text lost where a piece ends; an entry cut there; a list in lines."""
    monkeypatch.setattr(entries_room, "LOOK", look)
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n \n" for value in VALUES)
    text = (
        json.dumps(VALUES, indent=3, ensure_ascii=False) + "\n"
        if name.startswith("rows.json") and "l" not in name
        else lines
    )
    content = ("\ufeff" + text).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    read = [*entries(tmp_path / name)]
    assert [value for _, value in read] == VALUES
    assert read[1][0] == str(tmp_path / name) + (", entry 2" if text[0] == "[" else ", line 3")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", '[{"a": 1} {"a": 2}]', ", entry 1: must be followed by a comma or the end of the list."),
        ("a.json", '[{"a": 1}', ", entry 1: must be followed by a comma or the end of the list."),
        ("a.json", '[{"a": 1},]', ", entry 2: is not JSON"),
        ("a.json", '[{"a": 1}] []', ": goes on behind the end of its list."),
        ("a.json", "[" * 5000, ", entry 1: is not JSON"),
        ("a.jsonl", '{"a": 1}\n{"a"\n', ", line 2: is not JSON"),
        ("a.jsonl", b"\xff\n", ": is not UTF-8 text."),
        ("a.jsonl.gz", b"no gzip", ": cannot be read to its end"),
        ("a.parquet", b"PAR1", ": is no whole parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_sentence(
    name: str, text: str | bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        [*entries(tmp_path / name)]
    assert str(caught.value).startswith(f"{tmp_path / name}{said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    """Kills: a file that is read whole before its first row."""
    rows = [{"a": "x" * 10_000}] * 400
    text = json.dumps(rows) if name.endswith("json") else "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / name).write_text(text)
    tracemalloc.start()
    count = sum(1 for _ in entries(tmp_path / name))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 400
    assert peak < len(text) / 4


def counts(root: Path, room: int = 1024) -> dict[str, tuple[int, int, int, dict[str, int]]]:
    """Return rows, examples, cut prompts and skipped rows of each part."""
    census = take_census(root, room)
    assert census.faults == []
    return {
        f"{each.part.data_set.name} {each.part.split}": (each.rows, each.examples, each.cut, each.skipped)
        for each in census.counted
    }


def write(root: Path, name: str, rows: Sequence[Any]) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    write_rows(root / name, rows)


def test_what_lies_in_a_folder_is_counted_with_what_is_skipped_and_absent(tmp_path: Path) -> None:
    """Kills: a hidden label counted as an example; rows that are skipped not counted as rows."""
    good = ROWS["piqa"][0]
    write(tmp_path, "piqa/train.jsonl", [good, good, changed("piqa", goal=" ")])
    write(tmp_path, "piqa/test.jsonl", [changed("piqa", label=-1), changed("piqa", label=...)])
    write(tmp_path, "wikitext/train.jsonl", [{"text": text} for text in (" = A = \n", " a \n", " = B = \n", "")])
    assert counts(tmp_path) == {
        "piqa train": (3, 2, 0, {"blank prompt or answer": 1}),
        "piqa test": (2, 0, 0, {"label not published": 2}),
        "wikitext train": (4, 2, 0, {}),
    }
    census = take_census(tmp_path, 1024)
    assert len(census.absent) == 12
    assert {"piqa", "wikitext"}.isdisjoint(each.name for each in census.absent)


def test_an_answer_is_read_whole_or_counted_as_too_long_and_a_prompt_is_cut(tmp_path: Path) -> None:
    """A row of 20 bytes: prompt, newline, answer, end. Kills: an answer cut; the end forgotten; characters counted."""
    sizes = [(10, 8), (11, 8), (5, 18), (5, 19), (5, 30)]
    rows = [{"question": "q" * given, "answer": "x" * (said - 7) + "\n#### 1"} for given, said in sizes]
    rows.append({"question": "q", "answer": "é" * 6 + "\n#### 1"})
    write(tmp_path, "gsm8k/train.jsonl", rows)
    assert counts(tmp_path, 20) == {"gsm8k train": (6, 3, 2, {TOO_LONG: 3})}


def test_a_row_that_cannot_be_read_is_told_and_the_other_sets_are_counted(tmp_path: Path) -> None:
    """Kills: the first fault that hides all others; a part with a fault called whole."""
    for name in ("boolq", "piqa", "drop"):
        broken = [changed(name, question=...), changed(name, goal=...)][name == "piqa"]
        write(tmp_path, f"{name}/train.jsonl", [ROWS[name][0], ROWS[name][0] if name == "drop" else broken])
    census = take_census(tmp_path, 1024)
    assert [each.examples for each in census.counted] == [2, 1, 1]
    assert [fault.split(": ")[0] for fault in census.faults] == [
        f"{tmp_path}/{name}/train.jsonl, line 2" for name in ("boolq", "piqa")
    ]


def test_parquet_as_the_hub_exports_it_is_read_with_what_is_nested(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for name in ("arc_easy", "drop", "hotpotqa", "hellaswag"):
        (tmp_path / name).mkdir()
        table = pyarrow.Table.from_pylist([ROWS[name][0]] * 3)
        parquet.write_table(table, tmp_path / name / "train-00000-of-00001.parquet", row_group_size=2)
        (part,) = find_sets(tmp_path / name).parts
        assert [*part.examples(10_000)] == [ROWS[name][1]] * 3


def whole(name: str) -> list[Example]:
    file = shared_file(name)
    if file is None:
        pytest.skip(f"{name} does not lie beside the project")
    (part,) = find_sets(file).parts
    read = [*part.examples(1024)]
    examples = [each for each in read if isinstance(each, Example)]
    assert len(examples) == len(read)
    return examples


def test_all_of_gsm8k_has_a_number_and_nothing_of_a_calculator() -> None:
    examples = whole("gsm8k_test.jsonl")
    file = shared_file("gsm8k_test.jsonl")
    assert file is not None
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(examples) == len(rows) == 1319
    assert not any(mark in each.answer for each in examples for mark in ("<<", ">>"))
    for example, row in zip(examples, rows, strict=True):
        assert example.prompt == row["question"]
        assert float(example.gold) == float(row["answer"].split("#### ")[1].replace(",", ""))
        assert example.answer.endswith(f"\n#### {example.gold}")


def test_all_of_svamp_has_the_number_of_its_equation() -> None:
    examples = whole("svamp.json")
    file = shared_file("svamp.json")
    assert file is not None
    rows = json.loads(file.read_text())
    assert len(examples) == len(rows) == 1000
    assert [float(each.answer) for each in examples] == [row["Answer"] for row in rows]
    assert not any("." in each.answer for each in examples)
    assert examples[0].answer == "51"

"""`atlas data check`: the counts it prints are those of the rows, in a table that fits, and a fault has its exit code.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from spec_tests.package.data.answer_inputs import write_rows
from spec_tests.package.data.set_rows import ROWS, changed
from spec_tests.package.micro.command import Atlas


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sets, one of them with a test split whose labels are hidden, and a file that is none."""
    files: dict[str, list[Any]] = {
        "piqa/train.jsonl": [ROWS["piqa"][0]] * 3 + [changed("piqa", goal="")],
        "piqa/test.jsonl": [changed("piqa", label=-1)] * 2,
        "svamp.jsonl": [ROWS["svamp"][0]] * 1200,
        "\x1b[2Jmine.jsonl": [{}],
    }
    for name, rows in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_rows(tmp_path / name, rows)
    return tmp_path


def test_the_table_and_what_stands_below_it_fit_a_terminal_and_say_what_was_counted(
    atlas: Atlas, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a reason without its set; a name that the terminal obeys; a set that is absent and not told."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = atlas("data", "check", folder)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines[:4]] == [
        ["set", "domain", "split", "files", "rows", "examples", "skipped", "cut"],
        ["svamp", "math", "whole", "1", "1,200", "1,200", "0", "0"],
        ["piqa", "commonsense", "train", "1", "4", "3", "1", "0"],
        ["piqa", "commonsense", "test", "1", "2", "0", "2", "0"],
    ]
    assert "skipped   piqa train: 1 row, blank prompt or answer" in lines
    assert "          piqa test: 2 rows, label not published" in lines
    assert "not read  \\x1b[2Jmine.jsonl (named after no set)" in lines
    below = " ".join(" ".join(lines).split())
    assert "absent gsm8k (openai/gsm8k), asdiv (EleutherAI/asdiv)," in below
    assert "svamp (" not in below


def test_json_has_everything_that_was_counted(atlas: Atlas, folder: Path) -> None:
    ended = atlas("data", "check", folder, "--json", "--length", 16)
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert (found["ok"], found["length"], len(found["absent"])) == (True, 16, 12)
    assert found["not_read"] == [{"name": "\\x1b[2Jmine.jsonl", "reason": "named after no set"}]
    assert found["parts"] == [
        {
            "set": name,
            "domain": domain,
            "split": split,
            "files": [str(folder / file)],
            "rows": rows,
            "examples": examples,
            "cut": cut,
            "skipped": skipped,
            "fault": None,
        }
        for name, domain, split, file, rows, examples, cut, skipped in (
            ("svamp", "math", "whole", "svamp.jsonl", 1200, 1200, 1200, {}),
            ("piqa", "commonsense", "train", "piqa/train.jsonl", 4, 3, 3, {"blank prompt or answer": 1}),
            ("piqa", "commonsense", "test", "piqa/test.jsonl", 2, 0, 0, {"label not published": 2}),
        )
    ]


def test_a_row_that_cannot_be_read_is_one_sentence_and_exit_code_2(atlas: Atlas, folder: Path) -> None:
    """Kills: a fault that is printed and forgotten; the counts of other sets lost to it."""
    write_rows(folder / "piqa" / "train.jsonl", [ROWS["piqa"][0], changed("piqa", label=...)])
    sentence = f'{folder}/piqa/train.jsonl, line 2: piqa must have the field "label"; it has "goal", "sol1", "sol2".'
    ended = atlas("data", "check", folder)
    assert (ended.code, ended.err) == (2, f"Error: {sentence}\n")
    assert "1,200" in ended.out
    asked = atlas("data", "check", folder, "--json")
    assert (asked.code, asked.err) == (2, "")
    found = json.loads(asked.out)
    assert (found["ok"], [part["fault"] for part in found["parts"]]) == (False, [None, sentence, None])


def test_a_folder_that_can_only_be_judged_by_is_called_so(atlas: Atlas, folder: Path) -> None:
    """Kills: a test split offered for training."""
    assert "nothing to train on" not in atlas("data", "check", folder).out
    assert "nothing to train on" in atlas("data", "check", folder / "piqa" / "test.jsonl").out

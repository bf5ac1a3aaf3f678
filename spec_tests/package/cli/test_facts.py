"""The block before a run: what was read, what was not, and what the steps are, in lines that fit a terminal."""

import json
import re
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow.parquet import write_table

from atlas_ref.data.facts import Fact
from atlas_ref.watching.estimate import FirstSteps, about
from cli.facts import lines
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import MICRO, UNEXAMINED

SET = [part for override in MICRO for part in ("--set", override)]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of three documents of 300 characters and an empty one, and files that are left out."""
    folder = tmp_path / "texts"
    folder.mkdir()
    bodies = ["eins zwei " * 30, "drei vier " * 30, "", "fünf sechs" * 30]
    write_table(pyarrow.table({"body": bodies, "text": ["wrong"] * 4}), folder / "a.parquet")
    (folder / "b.jsonl").write_text(json.dumps({"body": "eins zwei " * 30}))
    (folder / "c.csv").write_text("a,b")
    (folder / "\x1b[2K.txt.bak").write_text("x")
    return folder


def test_a_run_says_before_it_begins_what_it_reads(
    atlas: Atlas, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,200 characters 1,080 are trained on, in documents of 300, 300, 330 and 180 bytes, each filled to chunks of 8
    by its separators: 304 + 304 + 336 + 184 tokens; the other 120 fill 128.
    """
    monkeypatch.setenv("COLUMNS", "80")
    ended = atlas(
        "train", "--data", texts, "--data-key", "body", "--max-steps", 6, "--out", tmp_path / "r", *SET, *UNEXAMINED
    )
    said = ended.out.split("preflight was skipped")[0]
    block = " ".join(said.split())

    assert ended.code == 0
    assert f"{texts}: 2 files (1 jsonl, 1 parquet)" in block
    assert "4 documents" in block
    assert "not read \\x1b[2K.txt.bak (ends in .bak) c.csv (ends in .csv)" in block
    assert "empty 1 document without text, skipped" in block
    assert "twice 1 of 1 validation documents stand in the training text too" in block
    assert "tokens 1,128 to train on, 128 to validate on" in block
    assert "a step 2 rows of 32 tokens: 64 tokens" in block
    assert "in all 6 steps: 384 tokens, 0.34 rounds over those to train on" in block
    assert all(len(line) <= 80 for line in said.splitlines() if str(tmp_path) not in line)
    promise = r"about \d+ s for the 2 steps left, validation aside; [\d,]+ MiB of memory\n"
    assert len(re.findall(promise, ended.out)) == 1
    assert "stays where it is" not in ended.out, "a run that begins has nothing to remove"


def test_facts_fit_the_width_and_a_label_stands_once() -> None:
    facts = [Fact("data", "word " * 40), Fact("not read", "a (b)"), Fact("not read", "c (d)")]
    block = list(lines(facts, 50))

    assert all(len(line) <= 50 for line in block)
    assert [line[:10] for line in block[-2:]] == ["not read  ", " " * 10]
    assert " ".join(" ".join(block).split()) == "data " + "word " * 40 + "not read a (b) c (d)"


def test_an_estimate_is_the_usual_step_times_the_steps_left() -> None:
    """Kills: counting the first step, which is slower, or one that something else held up."""
    steps, cpu, taken = FirstSteps(), torch.device("cpu"), (60.0, 2.0, 9.0, 1.5, 2.0)
    said = [steps.after(seconds, 1000 - step, cpu) for step, seconds in enumerate(taken)]

    assert [text is None for text in said] == [True, True, True, False, True]
    assert said[3] is not None
    assert said[3].startswith("about 33 min for the 997 steps left, ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (119.0, "119 s"), (120.0, "2.0 min"), (7199.0, "120 min"), (4e4, "11 h"), (864e3, "10 days")],
)
def test_a_time_is_told_in_a_unit_of_which_there_are_two_or_more(seconds: float, text: str) -> None:
    assert about(seconds) == f"about {text}"

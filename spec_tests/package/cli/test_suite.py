"""`atlas eval --suite cognate`: the table, the JSON, the answers and the picture of a small run on six sets.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import find_checkpoint
from cli import suite as suite_module
from spec_tests.package.data.answer_inputs import shared_file
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.curriculum import curriculum_config, write_sets
from spec_tests.package.micro.runs import micro_config, start

DOMAINS = {"math": ["gsm8k"], "code": ["mbpp"], "commonsense": ["hellaswag"], "reasoning": ["drop"], "qa": ["boolq"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("downloads"), 20)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A run of two steps on the sets."""
    path = tmp_path_factory.mktemp("suite") / "run"
    start(curriculum_config(folder, "train.max_steps=2", "data.curriculum.judged=0"), path)
    return path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, which takes longer than all else."""
    monkeypatch.setattr(suite_module, "find_spec", lambda name: None)


def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def wilson(right: float, n: int) -> tuple[float, float]:
    """Return both ends of the interval, as the roots of a quadratic: (p - x)^2 = z^2 x (1 - x) / n."""
    z2, p = 1.959963984540054**2, right / n
    a, b, c = 1 + z2 / n, -(2 * p + z2 / n), p * p
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def test_a_suite_is_told_as_a_table_and_kept_with_every_answer(atlas: Atlas, run: Path) -> None:
    """The accuracies are counted again from the answers. Kills: scores of another set; a domain without its interval;
    a table that is wider than a terminal; an answer that is lost; chance of another number of choices.
    """
    told = atlas("eval", run, "--suite", "cognate", "--examples", 5)
    assert (told.code, told.err) == (0, "")
    table = told.out.split("\nstep ")[0]
    assert max(map(len, table.splitlines())) <= 80
    found, said = json.loads((run / "suite" / "suite.json").read_text()), answers(run / "suite")
    assert (found["split"], found["step"], found["run_code"]) == ("validation", 2, None)
    scores: dict[str, list[float]] = defaultdict(list)
    for line in said:
        scores[line["set"]].append(line["score"])
    domains = {each["domain"]: each for each in found["domains"]}
    assert {name: [each["set"] for each in domain["sets"]] for name, domain in domains.items()} == {
        **DOMAINS,
        "language": ["wikitext"],
    }
    for domain in domains.values():
        (part,) = domain["sets"]
        counted, n = sum(scores[part["set"]]), len(scores[part["set"]])
        assert (domain["n"], part["n"]) == (n, n)
        assert n >= 3
        assert domain["value"] == part["value"] == pytest.approx(counted / n)
        assert (part["low"], part["high"]) == pytest.approx(wilson(counted, n), abs=1e-9)
        assert f"{part['value']:.1%}" in table
        assert f"{part['low']:.1%} to {part['high']:.1%}" in table
    assert [domains[name]["chance"] for name in ("commonsense", "qa", "math")] == [0.25, 0.5, 0.0]
    choices = {line["said"] for line in said if line["set"] == "hellaswag"}
    assert choices <= {"a", "bb", "ccc ccc", "d"}
    for line in said:
        if line["set"] in ("hellaswag", "boolq"):
            assert line["score"] == (line["said"] == line["gold"])
        assert (line["said"] is None) == (line["set"] in ("mbpp", "wikitext"))
    assert "programs are not run: mbpp is judged by next tokens" in told.out
    assert "absent: svamp, asdiv, codexglue, arc_easy, arc_challenge, strategyqa, hotpotqa, piqa" in told.out
    assert (run / "suite" / "suite.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("undrawn")
def test_the_json_is_that_of_the_file_which_is_one_of_a_run(atlas: Atlas, run: Path, folder: Path) -> None:
    """Kills: another object; a directory of somebody else, for whoever starts a run there."""
    told = atlas("eval", run, "--suite", "cognate", "--data", folder / "boolq.jsonl", "--examples", 2, "--json")
    assert json.loads(told.out) == json.loads((run / "suite" / "suite.json").read_text())
    hidden = folder / "piqa.jsonl"
    rows = [{"goal": f"{n}", "sol1": "a", "sol2": "b", "label": -1 if n < 20 else n % 2} for n in range(90)]
    hidden.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = atlas("eval", run, "--suite", "cognate", "--data", hidden, "--examples", 2)
    assert "rows that are no examples: 20 of piqa (reasons in suite.json)" in told.out
    hidden.unlink()
    with pytest.raises(UserError, match="already holds a run"):
        start(curriculum_config(folder), run)


@pytest.mark.usefixtures("undrawn")
def test_a_test_split_alone_is_asked_of_a_run_that_knows_no_sets(atlas: Atlas, folder: Path, tmp_path: Path) -> None:
    """Kills: a suite for runs on sets alone; the split that the option does not name; files where no run lies."""
    start(micro_config("train.max_steps=2", "model.n_layers=1"), tmp_path / "run")
    refused = atlas("eval", tmp_path / "run", "--suite", "cognate")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--data must name a folder of data sets: the run was trained on shakespeare" in refused.err
    told = atlas(
        *("eval", tmp_path / "run", "--suite", "cognate", "--data", folder, "--split", "test"),
        *("--out", tmp_path / "found", "--json"),
    )
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert [(each["domain"], each["n"]) for each in found["domains"]] == [("math", 3)]
    assert {line["prompt"] for line in answers(tmp_path / "found")} == {f"{n} and 5?" for n in range(3)}
    assert not (tmp_path / "run" / "suite").exists()


@pytest.mark.usefixtures("undrawn")
def test_programs_run_only_where_they_are_asked_for(
    atlas: Atlas, run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a program that runs unasked; a mode that is not said; next tokens beside pass@1."""
    import atlas_ref.judging.programs as programs

    ran: list[str] = []

    def passes(self: programs.Programs, program: str, checks: object) -> bool:
        ran.append(self.isolation)
        return "x" in program or "assert x == 1" in str(checks)

    monkeypatch.setattr(programs.Programs, "passes", passes)
    arguments = (
        *("eval", run, "--suite", "cognate", "--data", folder / "mbpp.jsonl"),
        *("--examples", 2, "--out", tmp_path / "out"),
    )
    assert atlas(*arguments).code == 0
    assert not ran
    monkeypatch.setattr(programs.Programs, "prove", lambda self: None)
    for isolation, sentence in (("isolated", "without network, files"), ("limited", "NOT isolated")):
        ran.clear()
        told = atlas(*arguments, "--run-code", isolation)
        assert told.code == 0, told.err
        assert sentence in told.out
        assert ran == [isolation] * 2
        assert "pass@1" in told.out
        assert "programs are not run" not in told.out


@pytest.mark.usefixtures("undrawn")
def test_what_makes_no_sense_is_refused_in_one_sentence(atlas: Atlas, run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("x")
    checkpoint = find_checkpoint(run).path
    for arguments, reason in (
        ((run, "--suite", "cognate", "--split", "all"), "--split all: must be validation or test for --suite"),
        ((run, "--suite", "cognate", "--batches", 3), "--data-key and --batches are not for --suite"),
        ((run, "--examples", 3), "--split test, --examples, --run-code and --out are for --suite cognate"),
        ((run, "--split", "test"), "--split test, --examples, --run-code and --out are for --suite cognate"),
        ((run, "--suite", "cognate", "--out", tmp_path / "theirs"), "holds thesis.txt, which this command did not"),
        ((run, "--suite", "cognate", "--data", folder / "boolq.jsonl", "--split", "test"), "has no example of a test"),
        ((run, "--suite", "cognate", "--data", tmp_path / "nowhere"), "does not exist"),
    ):
        ended = atlas("eval", *arguments)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), arguments
        assert reason in ended.err
    assert atlas("eval", checkpoint, "--suite", "cognate", "--examples", 1).code == 0


@pytest.mark.usefixtures("undrawn")
def test_without_matplotlib_there_is_no_picture_and_a_sentence(
    atlas: Atlas, run: Path, folder: Path, tmp_path: Path
) -> None:
    arguments = ("--suite", "cognate", "--examples", 1, "--data", folder / "boolq.jsonl", "--out", tmp_path / "out")
    told = atlas("eval", run, *arguments)
    assert "(no picture: that needs matplotlib, pip install '.[plot]')" in told.out
    assert not (tmp_path / "out" / "suite.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_real_word_problems_are_asked_in_the_share_that_a_training_keeps_apart(
    atlas: Atlas, run: Path, tmp_path: Path
) -> None:
    file = shared_file("svamp.json")
    if file is None:
        pytest.skip("svamp.json does not lie beside the project")
    told = atlas(
        "eval", run, "--suite", "cognate", "--data", file, "--examples", 4, "--out", tmp_path / "out", "--json"
    )
    assert told.code == 0, told.err
    (domain,) = json.loads(told.out)["domains"]
    assert (domain["domain"], domain["n"], domain["chance"]) == ("math", 4, 0.0)
    rows = {(f"{row['Body']}\n{row['Question']}", row["Answer"]) for row in json.loads(file.read_text())}
    assert {(line["prompt"], float(line["gold"])) for line in answers(tmp_path / "out")} <= rows

"""A selection that matches nothing, and a place that cannot be written to, are refused at once: no green nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from atlas_ref.errors import UserError
from spec_tests.package.micro.command import Atlas, in_this_process
from spec_tests.package.warm.start import warm_python
from spec_tests.process.files import write_arrays
from spec_tests.report.guard import VARIABLE
from spec_tests.report.launch import SETTINGS, Launch
from spec_tests.report.manifest import SUITE
from spec_tests.report.samples import report
from spec_tests.report.write import FILES, write_report
from spec_tests.selfproof import report as selfproof
from spec_tests.selfproof.subjects import matching
from spec_tests.vectors import export

CHAPTER = str(SUITE / "chapters" / "normalize" / "test_normalize.py")


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Atlas:
    """The command line, in an empty directory, with a suite that is never started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Launch, "run", lambda launch: pytest.fail("the suite was started"))
    return in_this_process(monkeypatch, capsys)


def refused(atlas: Atlas, *arguments: object) -> str:
    """Return the one sentence with which a command line is refused."""
    ended = atlas(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1
    return ended.err


NAMES = {
    "faults": ("act-haltt", "act-"),
    "vacuity": ("test_normalise", "test_normalize:"),
    "mutants": ("atlas_ref.memory.rule_s", "atlas_ref.memory.rules"),
    "variants": ("jacks", "jax"),
}


@pytest.mark.parametrize("part", NAMES)
def test_a_part_of_the_selfproof_in_which_nothing_begins_so_is_refused_with_the_nearest_names(part: str) -> None:
    wrong, near = NAMES[part]
    with pytest.raises(UserError, match=f"--only {wrong}: no name of {part} begins so; the nearest: .*{near}"):
        matching((part,), wrong, all_of_them=True)
    assert matching((part,), near, all_of_them=True) == (part,)


def test_parts_that_nobody_named_are_left_out_where_nothing_begins_so() -> None:
    assert matching(("faults", "variants"), "jax", all_of_them=False) == ("variants",)
    with pytest.raises(UserError, match="no name of faults"):
        matching(("faults", "variants"), "jax", all_of_them=True)
    with pytest.raises(UserError, match="no name of faults or variants begins so"):
        matching(("faults", "variants"), "zzz", all_of_them=False)


def test_a_selfproof_that_tries_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfproof, "variants", dict)
    assert selfproof.prove(("variants",), None, print)["variants"].wrong == ["nothing was tried"]


def test_the_command_refuses_what_selects_nothing(atlas: Atlas, tmp_path: Path) -> None:
    assert "no name of faults" in refused(atlas, "selfproof", "--part", "faults", "--only", "zzz")
    for command in (["list"], ["export", "questions"]):
        words = refused(atlas, "vectors", *command, "--level", "6", "--op", "l2_normalize")
        assert "no stored case has this level and operation" in words
    assert list(tmp_path.iterdir()) == []


def test_answers_of_a_precision_in_which_nothing_is_asked_are_not_all_right(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "check_answers", lambda folder, numerics: iter(()))
    assert "asked in bf16_io" in refused(atlas, "vectors", "check", "questions", "--numerics", "bf16_io")


def test_a_tap_that_the_operation_does_not_have_is_refused(atlas: Atlas) -> None:
    write_arrays(Path("in"), {})
    Path("config").write_text("{}")
    files = ("--config", "config", "--in", "in", "--out", "out", "--port", "spec_tests.process.example:ExamplePort")
    case = ("port", "run", "--op", "memory_step", "--numerics", "f64", *files)
    assert "no tap 'weight'; it has gradient" in refused(atlas, *case, "--taps", "gradient,weight")


PLACES = {
    "a file": (["--report", "file"], "--report file: is a file"),
    "below a file": (["--report", "file/a/b"], "--report file/a/b: file is a file"),
    "a directory of someone else": (["--report", "theirs"], "--report theirs: holds a badge.svg"),
    "a list in a directory that is not there": (["--xfail", "no/x", "--update-xfail"], "--xfail no/x: there is no"),
    "a directory as a list": (["--xfail", "theirs", "--update-xfail"], "--xfail theirs: is a directory"),
    "a list that is not there": (["--xfail", "nowhere"], "nowhere: does not exist"),
    "a list that is none": (["--xfail", "file"], "file: not TOML"),
    "no list to write": (["--update-xfail"], "also name the file with --xfail"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_cannot_be_used_is_refused_before_the_suite_starts(place: str, atlas: Atlas) -> None:
    Path("file").write_text("not a list")
    Path("theirs").mkdir()
    Path("theirs/badge.svg").write_text("mine")
    arguments, words = PLACES[place]
    assert words in refused(atlas, "conform", *arguments)
    assert Path("theirs/badge.svg").read_text() == "mine"
    assert {path.name for path in Path().rglob("*")} == {"file", "theirs", "badge.svg"}


@pytest.mark.parametrize("option", ["--json", "--keep"])
def test_a_file_of_results_that_cannot_be_written_is_refused_before_the_proof(atlas: Atlas, option: str) -> None:
    for place, words in (("nowhere/x", "there is no directory nowhere"), (".", "is a directory")):
        assert words in refused(atlas, "selfproof", "--part", "faults", option, place)
    Path("notes").write_text("mine")
    assert "notes" in refused(atlas, "selfproof", "--part", "faults", option, "notes")
    assert Path("notes").read_text() == "mine"


def test_a_report_takes_the_place_of_an_earlier_one(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launch, "run", lambda launch: 0)
    write_report(report(), Path("mine"))
    assert sorted(path.name for path in Path("mine").iterdir()) == sorted(FILES)
    for directory in ("mine", "new/one"):
        assert atlas("conform", "--report", directory).code == 0


def test_tests_among_which_there_is_no_case_are_wrong_usage(tmp_path: Path) -> None:
    command = [warm_python(), "-m", "pytest", "-c", str(SETTINGS), f"--confcutdir={SUITE}", "-q"]
    arguments = [CHAPTER, "-k", "nope", "--port=spec_tests.report.samples:NothingPort"]
    watched = {**os.environ, VARIABLE: f"token:{tmp_path}"}  # As if by a guard: no second process for this one.
    ended = subprocess.run([*command, *arguments], env=watched, capture_output=True, text=True, check=False)
    assert (ended.returncode, "no case of the suite is among the tests chosen" in ended.stdout) == (2, True)

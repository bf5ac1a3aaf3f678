"""Whole runs in processes of their own, on ports that are soon done with."""

from pathlib import Path
from typing import Final

import pytest

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Op
from spec_tests.process.load import REFERENCE
from spec_tests.report.launch import Launch
from spec_tests.report.manifest import SUITE, read_manifest
from spec_tests.report.model import Report
from spec_tests.report.scope import Scope

SAMPLES: Final = "spec_tests.report.samples"
CHAPTER: Final = str(SUITE / "chapters" / "normalize" / "test_normalize.py")

pytestmark = pytest.mark.usefixtures("warm")


def run(directory: Path, port: str, *options: str, cases: tuple[str, ...] = (CHAPTER,)) -> tuple[int, Report]:
    code = Launch(port, [f"--report={directory}", *options], jobs="1", cases=cases).run()
    return code, Report.model_validate_json((directory / "report.json").read_text())


def test_a_port_that_declares_nothing_is_asked_everything_and_ends_incomplete(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, found = run(tmp_path, f"{SAMPLES}:NothingPort", cases=())
    assert found.problems == ()
    assert (code, found.whole, found.reached) == (3, True, None)
    assert {each.outcome for each in found.results} == {Outcome.UNSUPPORTED}
    assert {each.id for each in found.results} == set(read_manifest().asked(Scope()))
    assert all("declares no" in each.reason for each in found.results)
    assert "nothing 1: incomplete with ATLAS spec" in capfd.readouterr().out


def test_a_port_that_declares_everything_and_answers_nothing_fails(tmp_path: Path) -> None:
    code, found = run(tmp_path, f"{SAMPLES}:EagerPort")
    asked = [each for each in found.results if each.outcome is not Outcome.NOT_RUN]
    assert code == 1
    assert {each.outcome for each in asked} == {Outcome.UNDECLARED}
    assert all(each.operations == (Op.L2_NORMALIZE,) and each.last for each in asked)
    assert found.levels[0].failed == len([each for each in asked if each.level == 0])


def test_a_selection_that_passes_is_not_conformance_and_says_what_it_asked(tmp_path: Path) -> None:
    code, found = run(tmp_path, REFERENCE, "--level=L0", "--numerics=f32")
    passed = {each.id: each for each in found.results if each.outcome is Outcome.PASS}
    assert (code, found.whole) == (3, False)
    assert passed.keys() == {name for name in read_manifest().asked(found_scope(found)) if "test_normalize" in name}
    assert {pair.numerics for each in passed.values() for pair in each.asked} == set(found.numerics)
    assert found.levels[-1].level == 0


def found_scope(found: Report) -> Scope:
    return Scope(found.level, found.numerics)


WRONG = {
    "a port of another specification": (
        [f"--port={SAMPLES}:ForeignPort"],
        f"--port {SAMPLES}:ForeignPort: the port declares spec_version '9.9', but this suite asks ports written for",
    ),
    "a port that does not start": (["--port=spec_tests.port:Declaration"], "--port spec_tests.port:Declaration: "),
    "a list rewritten from a selection": (["--xfail=x.toml", "--update-xfail"], "--update-xfail: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_sentence_and_code_2(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    options, words = WRONG[case]
    assert Launch(f"{SAMPLES}:NothingPort", options, jobs="1", cases=(CHAPTER,)).run() == 2
    error = capfd.readouterr().err
    assert error.startswith(f"Error: {words}")
    assert error.count("\n") == 1

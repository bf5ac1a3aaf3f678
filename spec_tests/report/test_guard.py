"""The exit code of a run counts only with the word of its finished report, whatever ends its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from spec_tests.contract.outcome import Outcome
from spec_tests.report.guard import INTERRUPTED, guarded
from spec_tests.report.launch import SETTINGS, Launch
from spec_tests.report.manifest import SUITE
from spec_tests.report.model import Report

HOSTILE = "spec_tests.report.hostile"
CHAPTER = str(SUITE / "chapters" / "normalize" / "test_normalize.py")

GIVES = """
import json, os, sys
token, folder = os.environ["ATLAS_WITNESS"].split(":")
word = dict(token=token, code=CODE, ends=CODE, passed=3, asked=3)
def give(**changes):
    open(folder + "/word.json", "w").write(json.dumps(word | changes))
def end(code):
    sys.exit(code)
"""


def run_of(statements: str, code: int = 0) -> int:
    """Return what is made of a process that runs these statements; its report, if any, ends with `code`."""
    script = GIVES.replace("CODE", str(code)) + statements
    return guarded([sys.executable, "-S", "-E", "-c", script])


@pytest.mark.parametrize("code", [0, 1, 3, 5])
def test_a_code_without_a_word_is_that_of_a_suite_that_is_not_whole(
    code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_of(f"os._exit({code})") == 4
    error = capfd.readouterr().err
    assert error.startswith(f"Error: the suite is not whole: its process ended with exit code {code} before its first")
    assert error.count("\n") == 1


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_a_code_with_its_word_is_believed(code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_of(f"give(); end({code})", code) == code
    assert capfd.readouterr().err == ""


DOUBTS = {
    "a token of another run": ("give(token='0' * 32); end(0)", "is of another run"),
    "another code than that of the report": ("give(code=1, ends=1); end(0)", "although its report ends with 1"),
    "a pass of fewer than were asked": ("give(passed=2); end(0)", "although 2 of 3 cases passed"),
    "a pass of nothing": ("give(passed=0, asked=0); end(0)", "although 0 of 0 cases passed"),
    "a word cut short": ("open(folder + '/word.json', 'w').write('{'); end(0)", "cannot be read"),
    "a signal": ("os.kill(os.getpid(), 9)", "signal 9 before its first case"),
    "a signal during a case": ("open(folder + '/place', 'w').write('during x'); os.kill(os.getpid(), 9)", "9 during x"),
    "another program": ("os.execv(sys.executable, [sys.executable, '-S', '-c', ''])", "exit code 0"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_word_that_is_doubtful_is_not_believed(doubt: str, capfd: pytest.CaptureFixture[str]) -> None:
    statements, words = DOUBTS[doubt]
    assert run_of(statements) == 4
    error = capfd.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_run_that_was_interrupted_says_so_with_its_word() -> None:
    assert run_of(f"give(code={INTERRUPTED}, ends=2); end(2)") == INTERRUPTED


def judged(directory: Path, port: str, *options: str, jobs: str = "1") -> tuple[int, Report | None]:
    """Return the exit code of a run of one chapter, and its report if it wrote one."""
    options = ("--level=L0", "--numerics=f32", f"--report={directory}", *options)
    code = Launch(f"{HOSTILE}:{port}", options, jobs=jobs, cases=(CHAPTER,)).run()
    report = directory / "report.json"
    return code, Report.model_validate_json(report.read_text()) if report.is_file() else None


ENDS = {
    "ExitsInRun": "exit code 0 during spec_tests/chapters/normalize/test_normalize.py::",
    "exits_in_factory": "exit code 0 while the port was loaded",
}


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("port", ENDS)
def test_a_port_that_ends_the_process_never_ends_it_as_a_pass(
    port: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert judged(tmp_path, port) == (4, None)
    assert ENDS[port] in capfd.readouterr().err


@pytest.mark.usefixtures("warm")
def test_what_is_no_exception_costs_a_case_and_a_thread_that_is_left_costs_nothing(tmp_path: Path) -> None:
    code, report = judged(tmp_path, "Raises")
    assert code == 1
    assert report is not None
    reasons = {
        each.reason.partition("raised ")[2].partition("\n")[0]
        for each in report.results
        if each.outcome is Outcome.ERROR
    }
    assert reasons == {"SystemExit: 0", "KeyboardInterrupt", "GeneratorExit"}


@pytest.mark.usefixtures("warm")
def test_a_port_that_always_dies_costs_a_case_each_time_and_is_given_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, report = judged(tmp_path, "ExitsInRun", "--max-worker-restart=1", jobs="2")
    assert code == 1
    assert report is not None
    lost = [each for each in report.results if each.outcome is Outcome.ERROR]
    assert 2 <= len(lost) <= 3
    assert all("crashed while running" in each.reason for each in lost)
    assert f"{len(lost)} processes of the suite died" in report.given_up
    assert "given up: " in capfd.readouterr().out


def test_pytest_alone_does_not_end_as_a_pass_either() -> None:
    command = [sys.executable, "-m", "pytest", "-c", str(SETTINGS), f"--confcutdir={SUITE}", "-q", CHAPTER]
    ended = subprocess.run([*command, f"--port={HOSTILE}:ExitsInRun"], capture_output=True, text=True, check=False)
    assert (ended.returncode, "the suite is not whole" in ended.stderr) == (4, True)

"""What a quick run leaves out: other values of a property, and never what judges a port."""

import ast
import re
import subprocess
from typing import Final

import pytest

from spec_tests.discovery import files_of_tests
from spec_tests.package.warm.start import warm_python
from spec_tests.port import PROFILES
from spec_tests.report.launch import SETTINGS
from spec_tests.report.manifest import SUITE, read_manifest
from spec_tests.report.selection import chapter_files
from spec_tests.report.sentences import read_sentences
from spec_tests.report.trace import named
from spec_tests.sampling import EXHAUSTIVE, crossed, in_turn, sample
from spec_tests.spreading import part_of

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from spec_tests.sampling import crossed, sample

@pytest.mark.parametrize("one", sample("abc", kept=2))
def test_one(one):
    pass

@pytest.mark.parametrize(("one", "other"), crossed("abc", "xy"))
def test_two(one, other):
    pass

PRECISIONS = ("f64", "f32", "bf16")
CASES = [(name, numerics) for name in ("ATL-A-100", "ATL-A-101", "ATL-A-102", "ATL-A-103") for numerics in PRECISIONS]

@pytest.mark.parametrize(
    "case", [pytest.param(name, id=f"{name}-{n}", marks=pytest.mark.case(name, 0, "a", n, ())) for name, n in CASES]
)
def test_stored(case):
    pass
"""
ASKED = """
import pytest

@pytest.mark.long
@pytest.mark.parametrize("name", "abcdefgh")
def test_long(port, name):
    print("long", *port.declare().numerics, "end")

@pytest.mark.parametrize("name", "abcdefgh")
def test_short(port, name):
    print("short", *port.declare().numerics, "end")
"""
CASES: Final = ["ATL-A-100-f64", "ATL-A-100-f32", "ATL-A-100-bf16", "ATL-A-101-bf16", "ATL-A-102-f64", "ATL-A-103-f32"]
"""The stored cases of a quick run on the reference."""
PORT: Final = "--port=spec_tests.report.samples:NothingPort"
STORED: Final = (f"{SUITE}/vectors/test_vectors.py", "-k", "ATL-ACT-101")


def collected(pytester: pytest.Pytester, *options: str) -> list[str]:
    """Return the tests that a run of TESTS selects."""
    pytester.makepyfile(TESTS)
    done = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "spec_tests.conftest", *options)
    return [line.partition("::")[2] for line in done.outlines if "::" in line]


def test_a_quick_run_meets_every_value_and_the_exhaustive_one_every_pair(pytester: pytest.Pytester) -> None:
    """Kills: a mark that nothing reads; one that leaves a test out for good; a value that no quick run meets; a
    covering case in one precision for all of them, or in none; a case of another kind in fewer than all."""
    marked = ["test_one[a]", "test_one[b]", "test_two[a-x]", "test_two[c-x]", "test_two[b-y]"]
    assert collected(pytester) == [*marked, *(f"test_stored[{name}]" for name in CASES)]
    assert len(collected(pytester, f"--{EXHAUSTIVE}")) == 3 + 6 + 12


@pytest.mark.parametrize("option", ["", f"--{EXHAUSTIVE}", "--report=found"])
def test_a_quick_run_asks_a_long_test_in_one_precision_and_all_others_in_every_one(
    option: str, pytester: pytest.Pytester
) -> None:
    """Kills: a precision that no long test is asked in; a port, or the exhaustive run, that is asked in fewer than all;
    a test after a long one that is asked in what was left of that."""
    pytester.makepyfile(ASKED)
    options = ["-s", "-p", "spec_tests.conftest", *filter(None, [option])]
    done = pytester.runpytest_inprocess(*options).stdout.str()
    asked = {kind: re.findall(f"{kind} (.*) end", done) for kind in ("long", "short")}
    every = " ".join(PROFILES)
    assert asked["short"] == [every] * 8
    assert len(asked["long"]) == 8
    assert set(asked["long"]) == ({every} if option else set(PROFILES))


def test_a_quick_run_asks_no_sentence_by_long_tests_alone() -> None:
    """Kills: a sentence that a quick run asks in one precision, whose budget may be that of bfloat16."""
    found = [node for path in files_of_tests() for node in ast.walk(ast.parse(path.read_text()))]
    tests = [node for node in found if isinstance(node, ast.FunctionDef) and named(node)]
    others = [each for each in tests if "pytest.mark.long" not in map(ast.unparse, each.decorator_list)]
    assert 0 < len(others) < len(tests)
    asked = {name for each in others for name in named(each)}
    asked |= {name for case in read_manifest().cases if case.kind == "vector" for name in case.requirements}
    assert {sentence.id for sentence in read_sentences()} <= asked


def test_a_port_is_asked_each_stored_case_in_every_precision() -> None:
    """Kills: a port that passes because a precision in which it fails was left to a run that nobody makes."""
    command = [warm_python(), "-m", "pytest", "--collect-only", "-q", "-c", str(SETTINGS), f"--confcutdir={SUITE}"]
    done = subprocess.run([*command, *STORED, PORT], capture_output=True, text=True, check=False)
    assert done.stdout.count("[ATL-ACT-101-") == 3


def test_each_value_of_both_is_met() -> None:
    for ones, others in (("abcde", "xy"), ("x", "abc"), ("abc", "uvw")):
        met = [pair.values for pair in crossed(ones, others) if not pair.marks]
        assert ({one for one, _ in met}, {other for _, other in met}) == (set(ones), set(others))
    assert [bool(one.marks) for one in sample("abc")] == [False, True, True]
    kept = [[one.values[0] for one in in_turn("abcde", turn) if not one.marks] for turn in range(2)]
    assert kept == [["a", "c", "e"], ["b", "d"]]


def test_no_test_that_judges_a_port_is_left_out() -> None:
    """Kills: a port that passes because what it fails was left to a run that nobody makes."""
    assert chapter_files()
    for path in chapter_files():
        assert EXHAUSTIVE not in path.read_text()
        assert "spec_tests.sampling" not in path.read_text()


def test_a_file_runs_in_one_process_and_what_shares_nothing_in_several() -> None:
    cases, faults = "vectors/test_vectors.py::test_it[{}]", "faults/test_faults.py::test_it[{}]"
    assert part_of("package/test_a.py::test_b[ATL-SCAN-1]") == part_of("package/test_a.py::test_c")
    assert part_of(cases.format("ATL-SCAN-001-f64")) == part_of(cases.format("ATL-SCAN-002-f32"))
    assert part_of(cases.format("ATL-SCAN-001-f64")) != part_of(cases.format("ATL-STEP-001-f64"))
    assert part_of(faults.format("act-sum-f32")) != part_of(faults.format("scan-sum-f32"))
    assert part_of(faults.format("act-sum-f32")) != part_of(cases.format("ATL-ACT-001-f32"))

"""What a quick run leaves out: other values of a property, and never what judges a port."""

import subprocess
import sys
from pathlib import Path

from spec_tests.report.selection import chapter_files
from spec_tests.sampling import EXHAUSTIVE, crossed, sample

TESTS = """
import pytest
from spec_tests.sampling import crossed, sample

@pytest.mark.parametrize("one", sample("abc", kept=2))
def test_one(one):
    pass

@pytest.mark.parametrize(("one", "other"), crossed("abc", "xy"))
def test_two(one, other):
    pass
"""


def collected(folder: Path, *options: str) -> list[str]:
    """Return the tests that a run of TESTS selects."""
    (folder / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command += ["-p", "spec_tests.conftest", f"--rootdir={folder}", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_a_quick_run_meets_every_value_and_the_exhaustive_one_every_pair(tmp_path: Path) -> None:
    """Kills: a mark that nothing reads; one that leaves a test out for good; a value that no quick run meets."""
    assert collected(tmp_path) == ["test_one[a]", "test_one[b]", "test_two[a-x]", "test_two[c-x]", "test_two[b-y]"]
    assert len(collected(tmp_path, f"--{EXHAUSTIVE}")) == 3 + 6


def test_each_value_of_both_is_met() -> None:
    for ones, others in (("abcde", "xy"), ("x", "abc"), ("abc", "uvw")):
        met = [pair.values for pair in crossed(ones, others) if not pair.marks]
        assert ({one for one, _ in met}, {other for _, other in met}) == (set(ones), set(others))
    assert [bool(one.marks) for one in sample("abc")] == [False, True, True]


def test_no_test_that_judges_a_port_is_left_out() -> None:
    """Kills: a port that passes because what it fails was left to a run that nobody makes."""
    assert chapter_files()
    for path in chapter_files():
        assert EXHAUSTIVE not in path.read_text()
        assert "spec_tests.sampling" not in path.read_text()

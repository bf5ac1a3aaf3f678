"""What judges a port runs where torch is not: an interpreter that refuses its import, and all that it starts."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from spec_tests.report.manifest import SUITE
from spec_tests.report.model import Report

REFUSED: Final = ("torch", "jaxtyping", "beartype", "jax", "tokenizers", "pyarrow", "matplotlib")
"""What the extras install, and nothing else does."""
SITE: Final = f'''
from importlib.machinery import PathFinder

class Found:
    """An object, as a function would become a method wherever a class keeps it."""

    def __init__(self, there):
        self.there = there

    def __call__(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {REFUSED} else self.there(name, path, target)

PathFinder.find_spec = Found(PathFinder.find_spec)
'''
WRONG: Final = """
from spec_tests.process.example import ExamplePort

class Wrong(ExamplePort):
    def run(self, *given, **named):
        return {"y": 2 * super().run(*given, **named)["y"]}
"""
PORT: Final = "spec_tests.process.example:ExamplePort"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder whose Python has none of these packages, in child processes too."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE)
    return folder


def ended(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return how a command ended where the packages are missing."""
    paths = [str(site), str(SUITE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    # The metadata of what is refused still names a plugin of pytest.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTEST_ADDOPTS": "-p no:jaxtyping",
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)


def test_a_port_is_judged_by_every_chapter_without_torch(site: Path) -> None:
    (site / "wrong.py").write_text(WRONG)
    run = ended(site, "-m", "cli.main", "conform", "--port=wrong:Wrong", "--level=L0", "--numerics=f32", "--report=out")
    assert run.returncode == 1, run.stdout + run.stderr
    found = Report.model_validate_json((site / "out" / "report.json").read_text())
    assert (found.problems, found.whole) == ((), True)
    wrong = [each for each in found.results if each.divergence]
    assert {each.divergence.likely for each in wrong if each.divergence} == {None}
    assert all("not sought, as the reference needs torch" in each.reason for each in wrong)
    assert "Wrong" not in run.stderr


def test_the_protocol_and_stored_cases_need_no_torch(site: Path) -> None:
    checked = ended(site, "-m", "cli.main", "port", "check", PORT)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    exported = ended(site, "-m", "cli.main", "vectors", "export", "questions", "--op", "l2_normalize")
    assert exported.returncode == 0, exported.stderr
    judged = ended(site, "-m", "cli.main", "vectors", "check", "questions")
    assert judged.returncode == 3, judged.stdout + judged.stderr


@pytest.mark.parametrize("command", ["conform", "generate nowhere"])
def test_what_needs_torch_says_so_in_one_sentence(command: str, site: Path) -> None:
    run = ended(site, "-m", "cli.main", *command.split())
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stderr.count("\n") == 1
    assert "the reference implementation needs torch" in run.stderr

"""`auto` asks few questions in one process, and many in several."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from spec_tests.port import Array, Declaration, Numerics, Op, Scalar
from spec_tests.process.example import ExamplePort
from spec_tests.report.launch import Launch
from spec_tests.report.manifest import SUITE
from spec_tests.report.model import Report

NODE: Final = f"{SUITE}/chapters/normalize/test_normalize.py::test_huge_and_tiny_vectors_keep_their_direction"
HERE: Final = "spec_tests.report.test_jobs"

pytestmark = pytest.mark.usefixtures("warm")


class Few(ExamplePort):
    """A port of one operation that fails with the name of the process that asks it."""

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Raise."""
        raise ValueError(f"asked by {os.environ.get('PYTEST_XDIST_WORKER', 'itself')}")


class Many(Few):
    """The same, which declares every operation."""

    def declare(self) -> Declaration:
        """Declare all of them."""
        return Declaration(**{**vars(super().declare()), "operations": frozenset(Op)})


@pytest.mark.parametrize(("name", "process"), [("Few", "itself"), ("Many", "gw0")])
def test_other_processes_are_started_for_many_questions_alone(
    name: str, process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    options = [f"--report={tmp_path}", "--maxprocesses=1"]
    assert Launch(f"{HERE}:{name}", options, jobs="auto", cases=(NODE,)).run() == 1
    found = Report.model_validate_json((tmp_path / "report.json").read_text())
    (reason,) = {each.reason.partition("\n")[0] for each in found.results if "asked by" in each.reason}
    assert reason.endswith(f"asked by {process}")

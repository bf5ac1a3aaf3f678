"""From reports to cells, from a catalogue to rows; nothing is installed here."""

import subprocess
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS, chapters_of_operations
from spec_tests.contract.outcome import Outcome
from spec_tests.discovery import words
from spec_tests.matrix import gather
from spec_tests.matrix import speed as timing
from spec_tests.matrix.asking import files_that_ask
from spec_tests.matrix.catalogue import Implementation, chosen, read_catalogue
from spec_tests.matrix.cells import cells_of, defined
from spec_tests.matrix.environments import NotInstalledError, python_of
from spec_tests.matrix.page import render_page, verdict
from spec_tests.matrix.sample import row, sample
from spec_tests.port import Feature, Numerics, Op
from spec_tests.report.manifest import SUITE
from spec_tests.report.model import Asked, LastCall
from spec_tests.report.samples import DIVERGENCE, report, result

DOCS = SUITE.parent / "docs"
PROPERTY = "test_newton_schulz:test_each_matrix_of_a_batch_is_treated_by_itself"


def test_a_cell_counts_passes_failures_and_what_was_not_asked_and_names_the_first_stored_case() -> None:
    """Kills: a property that is counted in a precision that it never reached; an absent case counted as a pass."""
    wide, narrow = (Asked(operation=Op.NEWTON_SCHULZ, numerics=each) for each in (Numerics.F64, Numerics.F32))
    last = LastCall(operation=Op.NEWTON_SCHULZ, numerics=Numerics.F32, config={})
    failed = {"outcome": Outcome.FAIL, "rerun": "python -m pytest there --port cmd:/home/me/layer"}
    vector = result("ATL-NS-001/f32", Outcome.FAIL, Op.NEWTON_SCHULZ, Numerics.F32)
    found = report(
        result("ATL-NS-001/f64", Outcome.PASS, Op.NEWTON_SCHULZ, Numerics.F64),
        vector.model_copy(update={**failed, "divergence": DIVERGENCE}),
        result(PROPERTY).model_copy(update={**failed, "asked": (wide, narrow), "last": last, "reason": "off"}),
        result("ATL-NORM-001/f64", Outcome.UNSUPPORTED, Op.L2_NORMALIZE, Numerics.F64),
    )
    cells = cells_of(found, "a:B")
    assert cells.keys() == {"newton_schulz"}
    wide_cell, narrow_cell = cells["newton_schulz"]["f64"], cells["newton_schulz"]["f32"]
    assert (wide_cell.passed, wide_cell.failed) == (1, 0)
    assert (narrow_cell.passed, narrow_cell.failed) == (0, 2)
    assert wide_cell.absent == defined(found.spec_version)["newton_schulz", Numerics.F64] - 1
    assert narrow_cell.first is not None
    assert (narrow_cell.first.case, narrow_cell.first.rerun) == (
        "ATL-NS-001/f32",
        "python -m pytest there --port a:B",
    )
    assert narrow_cell.first.said == "momentum at step 5 is off by inf; its budget is 3e-06"


def test_a_chapter_with_one_failure_fails_and_a_named_alternative_is_no_plain_pass() -> None:
    rows = {each.name: each for each in sample().rows}
    assert verdict(rows["green"], "newton_schulz") == "pass"
    assert verdict(rows["clamped"], "newton_schulz") == "convention"
    assert verdict(rows["wrong"], "newton_schulz") == "fail"
    assert verdict(rows["wrong"], "memory_step") == "pass"
    assert verdict(rows["green"], "memory_step") == "absent"


def test_files_that_ask_are_those_of_the_operations_and_the_stored_cases() -> None:
    names = {Path(path).name for path in files_that_ask(frozenset({Op.GROKFAST}))}
    assert {"test_vectors.py", "test_optimisers.py"} <= names
    assert "test_memory_scan.py" not in names


def test_a_layer_is_made_once_and_finds_what_the_suite_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a layer that is made again for every run; one that cannot import the suite or numpy."""
    asked: list[list[str]] = []
    real = subprocess.run

    def pip(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    python = python_of(("nothing==1",), tmp_path)
    assert python_of(("nothing==1",), tmp_path) == python
    assert [command[-1] for command in asked] == ["nothing==1"]
    found = real([str(python), "-c", "import numpy, spec_tests.port"], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("ERROR: Ignored: 1 Requires-Python >=8; 2 Requires-Python >=9\nERROR: No match\n", "it needs Python >=9, and"),
        ("WARNING: x\nERROR: No connection\nERROR: No matching distribution\n", "No matching distribution"),
        ("killed", "pip ended with 1"),
    ],
)
def test_what_pip_cannot_install_is_absent_with_its_reason_and_is_tried_again(
    said: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def pip(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        tried.append(command)
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):
        with pytest.raises(NotInstalledError, match=f"^{reason}"):
            python_of(("nothing==1",), tmp_path)
    assert len(tried) == 2


def test_rows_of_others_stay_and_two_runs_write_the_same_but_for_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a run of one that drops the rest; a time outside of the fields that are times."""
    seconds = iter(range(1, 9))
    monkeypatch.setattr(gather, "row_of", lambda each: row(each.name, seconds=next(seconds), absent="not here"))
    both = chosen(["optax", "torch.optim.Muon"])
    first = gather.gather(both, tmp_path, lambda _: None, fresh=True)
    assert [each.name for each in first.rows] == ["torch.optim.Muon", "optax"]
    again = gather.gather(both[:1], tmp_path, lambda _: None, fresh=False)
    assert gather.without_times(first) == gather.without_times(again)
    assert [each.seconds for each in first.rows] != [each.seconds for each in again.rows]
    assert gather.read_matrix(tmp_path / gather.JSON) == again
    alone = gather.gather(both[1:], tmp_path, lambda _: None, fresh=True)
    assert [each.name for each in alone.rows] == ["torch.optim.Muon"]


def test_a_row_of_another_machine_stays_as_it_was_asked_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a row of a GPU that a run without one drops; one that could be asked here, kept though it failed."""
    elsewhere, here = chosen(["emerging-optimizers", "optax"])
    elsewhere = elsewhere.model_copy(update={"python": (9, 9)})
    asked = {each.name: row(each.name, device="a card") for each in (elsewhere, here)}
    gather.write(gather.matrix_of(asked), tmp_path)
    monkeypatch.setattr(gather, "row_of", lambda each: row(each.name, absent="not here"))
    found = gather.gather((elsewhere, here), tmp_path, lambda _: None, fresh=True)
    assert {each.name: (each.absent, each.device) for each in found.rows} == {
        "emerging-optimizers": ("", "a card"),
        "optax": ("not here", ""),
    }


def test_a_name_that_is_not_in_the_catalogue_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"--only optix: there is no such implementation; valid: torch.optim.Muon, "):
        chosen(["optix"])


@pytest.mark.parametrize("entry", read_catalogue(), ids=lambda entry: entry.name)
def test_an_entry_is_pinned_has_an_adapter_and_names_keys_or_features_that_there_are(entry: Implementation) -> None:
    """Kills: a version that floats; an adapter that was renamed; a convention that no key and no feature names."""
    assert all("==" in each for each in entry.requires)
    if entry.port and "titans_pytorch" not in entry.port:  # which imports its package at once
        module, factory = entry.port.split(":")
        assert callable(getattr(import_module(module), factory))
    assert {*entry.convention, *entry.theirs} <= set(words())
    known = {name for op in OPERATIONS.values() for name in op.config} | {"beta", "v'", "its"}
    for said in entry.convention.values():
        for part in said.replace(", ", "; ").split("; "):
            name, _, feature = part.partition(" ")
            assert name in known or (name == "without" and feature in set(Feature)), part


def test_every_operation_has_one_chapter() -> None:
    assert chapters_of_operations().keys() == OPERATIONS.keys()


@pytest.mark.skipif(not (DOCS / gather.JSON).is_file(), reason="the published matrix is in the source tree")
def test_the_published_page_is_that_of_the_published_numbers_and_every_row_has_its_findings() -> None:
    matrix = gather.read_matrix(DOCS / gather.JSON)
    assert [each.name for each in matrix.rows] == [each.name for each in read_catalogue()]
    assert (DOCS / gather.PAGE).read_text(encoding="utf-8") == render_page(matrix)
    told = (DOCS / "public.md").read_text(encoding="utf-8")
    for each in matrix.rows:
        assert f"\n### {each.name}\n" in told


def test_a_layer_is_timed_in_turns_and_the_first_pass_of_each_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: the compilation of a first pass in a median; a ratio of medians in place of the median of ratios."""
    taken = {"theirs": iter([90.0, 2.0, 8.0, 3.0, 4.0, 50.0]), "Reference": iter([80.0, 1.0, 2.0, 1.0, 4.0, 5.0])}
    turns: list[str] = []

    def passed(name: str) -> tuple[float, float]:
        turns.append(name)
        return next(taken[name]), 100.0

    monkeypatch.setattr(timing, "worker", lambda python, layer, device: nullcontext(layer))
    monkeypatch.setattr(timing, "one_pass", passed)
    found = timing.speed("a", Path("python"), "theirs")
    assert turns == ["theirs", "Reference"] * 6
    assert (found.ratio, found.least, found.most) == (3.0, 1.0, 10.0)
    assert (found.theirs, found.ours, found.pairs) == (4.0, 2.0, 5)

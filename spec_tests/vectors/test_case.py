"""Stored cases are read as they were written, and only those that the manifest names."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.port import PROFILES, Op, round_to_bf16
from spec_tests.vectors.case import DATA, MANIFEST, TENSORS, first_case, load_case, load_cases, load_manifest, verify
from spec_tests.vectors.compare import names
from spec_tests.vectors.fill import LARGEST
from spec_tests.vectors.sources import SOURCES
from spec_tests.vectors.store import write_cases

SPEC = Path(__file__).parents[2] / "docs" / "spec"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


def some_file(data: Path) -> Path:
    return next(path for path in sorted(data.glob("L*/*/*/case.json")))


def test_a_changed_file_is_one_clear_error(copied: Path) -> None:
    path = some_file(copied)
    path.write_text(path.read_text().replace('"revision": 1', '"revision": 2'))
    with pytest.raises(UserError, match="changed since"):
        verify(copied)


def test_a_missing_and_an_unnamed_file_are_one_clear_error(copied: Path) -> None:
    path = some_file(copied)
    text = path.read_text()
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        load_cases(data=copied)
    path.write_text(text)
    path.with_name("other.json").write_text("{}")
    with pytest.raises(UserError, match="not in"):
        verify(copied)


def test_the_first_case_of_an_operation_is_that_of_the_order_in_which_all_are_read() -> None:
    for op in Op:
        first, every = first_case(op), load_cases(op=op)
        assert (first.id if first else None) == (every[0].id if every else None)


def test_a_missing_or_broken_manifest_is_one_clear_error(copied: Path) -> None:
    (copied / MANIFEST).write_text("[]")
    with pytest.raises(UserError, match="not a manifest"):
        load_manifest(copied)
    (copied / MANIFEST).unlink()
    with pytest.raises(UserError, match="no manifest"):
        load_manifest(copied)


@pytest.mark.parametrize("left", [0, 5, 200], ids=["nothing", "no-whole-header", "a-part"])
def test_tensors_cut_short_are_one_clear_error(copied: Path, left: int) -> None:
    path = some_file(copied).with_name(TENSORS)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match="not a stored case"):
        load_case(path.parent)
    path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(6) + b"no deflated bytes")
    with pytest.raises(UserError, match="not a stored case"):
        load_case(path.parent)
    path.write_bytes(b"not compressed")
    with pytest.raises(UserError, match="not a stored case"):
        load_case(path.parent)


def test_the_manifest_counts_every_case_once() -> None:
    cases, manifest = load_cases(), load_manifest()
    assert sum(manifest.cases.values()) == len(cases) == len({case.id for case in cases})
    for level, count in manifest.cases.items():
        assert count == len(load_cases(level=int(level[1:])))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    some = load_cases(op=Op.SLIDING_WINDOW_ATTENTION)
    write_cases(some, tmp_path)
    again = load_cases(data=tmp_path)
    for before, after in zip(some, again, strict=True):
        assert (before.id, before.config, before.kills) == (after.id, after.config, after.kills)
        for part in ("inputs", "cotangents", "expected"):
            one, other = getattr(before, part), getattr(after, part)
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in one)
        for numerics in before.numerics:
            for name, budget in before.budgets[numerics].items():
                assert np.array_equal(budget, after.budgets[numerics][name])


def test_every_profile_is_asked_the_same_question() -> None:
    for case in load_cases():
        for tensor in OPERATIONS[case.op].inputs:
            value = case.inputs[tensor.name]
            assert value.dtype == (np.int64 if tensor.role == "index" else np.float32), f"{case.id} {tensor.name}"
            if tensor.role == "activation":
                assert np.array_equal(round_to_bf16(value), value), f"{case.id} {tensor.name}"


def test_every_expected_tensor_has_a_budget_at_every_step() -> None:
    for case in load_cases():
        assert set(case.expected) <= set(names(case.op))
        for numerics in case.numerics:
            assert case.budgets[numerics].keys() == case.expected.keys(), case.id
            assert all(np.isfinite(budget).all() for budget in case.budgets[numerics].values())


def test_cases_hold_known_sentences_and_name_known_faults() -> None:
    faults = {fault.id: fault for fault in CATALOGUE}
    text = "".join(chapter.read_text() for chapter in SPEC.glob("*.md"))
    for case in load_cases():
        assert all(f"[{name}]" in text for name in case.requirements) or not text, case.id
        assert all(faults[name].op == case.op for name in case.kills), case.id


def test_every_level_has_cases_in_every_precision() -> None:
    for level in {row.level for row in OPERATIONS.values() if row.op in {source.op for source in SOURCES}}:
        for numerics in PROFILES:
            assert any(numerics in case.numerics for case in load_cases(level=level)), f"L{level} {numerics}"


def test_the_stored_cases_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= LARGEST


def test_case_files_are_strict_json() -> None:
    for path in DATA.glob("L*/*/*/case.json"):
        assert not {"NaN", "Infinity", "-Infinity"} & set(constants(path.read_text())), path


def constants(text: str) -> list[str]:
    found: list[str] = []
    json.loads(text, parse_constant=found.append)
    return found

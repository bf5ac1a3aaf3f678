"""The manifest counts what the suite has, no more and no less; `atlas trace --write` writes it anew."""

import pytest

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import Outcome
from spec_tests.port import SPEC_VERSION, Numerics, Op
from spec_tests.report import manifest
from spec_tests.report.manifest import (
    VECTORS,
    digest_of_cases,
    property_entries,
    read_manifest,
    sha256,
    vector_entries,
)
from spec_tests.report.model import Asked
from spec_tests.report.rewrite import not_passed
from spec_tests.report.samples import result
from spec_tests.report.scope import TOP
from spec_tests.report.trace import read_tests
from spec_tests.vectors.case import load_cases

CASES = read_manifest().cases


def test_the_manifest_has_exactly_the_properties_of_the_chapters_with_their_sentences() -> None:
    counted: dict[str, set[str]] = {}
    for entry in CASES:
        if entry.kind == "property":
            counted.setdefault(entry.id.partition("[")[0], set()).update(entry.requirements)
    assert counted == {test.name: set(test.sentences) for test in read_tests() if test.asks}


def test_the_manifest_has_exactly_the_stored_vectors_with_precisions_and_sentences() -> None:
    counted = {each.id: (each.operations, each.numerics, each.requirements) for each in CASES if each.kind == "vector"}
    stored = {case.id: ((case.op,), set(case.numerics), case.requirements) for case in load_cases()}
    assert {name: (ops, set(numerics), ids) for name, (ops, numerics, ids) in counted.items()} == stored
    assert read_manifest().vectors_sha256 == sha256(VECTORS)


def test_every_case_asks_something_and_is_of_a_level_of_what_it_asks() -> None:
    assert read_manifest().spec_version == SPEC_VERSION
    for entry in CASES:
        assert entry.operations, f"{entry.id} asks nothing"
        assert entry.numerics, f"{entry.id} asks in no precision"
        lowest = min(OPERATIONS[op].level for op in entry.operations)
        assert lowest <= entry.level <= TOP, f"{entry.id} is of level {entry.level}"


def test_every_operation_of_the_table_has_a_case_of_either_kind() -> None:
    for kind in ("property", "vector"):
        asked = {op for entry in CASES if entry.kind == kind for op in entry.operations}
        assert asked == OPERATIONS.keys(), f"operations without a {kind}"


def test_the_line_of_a_property_has_what_it_asked_in_the_order_of_the_specification() -> None:
    asked = (
        Asked(operation=Op.MEMORY_SCAN, numerics=Numerics.BF16_IO),
        Asked(operation=Op.MEMORY_STEP, numerics=Numerics.F64),
        Asked(operation=Op.MEMORY_SCAN, numerics=Numerics.F64),
    )
    made = result("test_a:test_b[x/y]", level=2).model_copy(update={"asked": asked})
    (line,) = property_entries([made, result("ATL-NS-001/f32")])
    assert (line.id, line.level) == (made.id, 2)
    assert line.operations == (Op.MEMORY_STEP, Op.MEMORY_SCAN)
    assert line.numerics == (Numerics.F64, Numerics.BF16_IO)


def test_a_vector_that_asks_derivatives_is_of_their_level_and_any_other_of_its_own() -> None:
    levels = {entry.id: entry.level for entry in vector_entries()}
    for case in load_cases():
        assert levels[case.id] == (max(case.level, 5) if case.cotangents else OPERATIONS[case.op].level)


def test_the_reference_owes_every_property_and_each_case_in_the_precisions_of_every_port() -> None:
    """Kills: a manifest that cannot be written anew since a profile is asked that the reference does not run in."""
    absent = result("ATL-NS-001/bf16_inside", Outcome.UNSUPPORTED, numerics=Numerics.BF16_INSIDE)
    wrong = [result("ATL-NS-001/f32", Outcome.FAIL), result("test_a:test_b", Outcome.UNSUPPORTED)]
    assert not_passed([absent, *wrong, result("ATL-NS-001/f64")]) == wrong


def test_the_digest_of_cases_changes_with_those_of_its_operations_and_with_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kills: a digest of the whole manifest, one of the first operation of a case alone, one without stored files."""
    whole, pair = read_manifest(), {Op.MEMORY_SCAN, Op.MEMORY_CHUNKED}
    both = next(case for case in whole.cases if set(case.operations) == pair)
    now = {op: digest_of_cases({op}) for op in (*pair, Op.NEWTON_SCHULZ)}
    fewer = whole.model_copy(update={"cases": tuple(case for case in whole.cases if case != both)})
    monkeypatch.setattr(manifest, "read_manifest", lambda: fewer)
    assert all((digest_of_cases({op}) == before) is (op not in pair) for op, before in now.items())
    monkeypatch.setattr(manifest, "VECTORS", VECTORS.with_name("none.json"))
    assert all(digest_of_cases({op}) != before for op, before in now.items())

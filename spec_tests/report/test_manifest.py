"""The manifest counts what the suite has, no more and no less; `atlas trace --write` writes it anew."""

from spec_tests.operations import OPERATIONS
from spec_tests.port import SPEC_VERSION, Numerics, Op
from spec_tests.report.manifest import VECTORS, entries, read_manifest, sha256
from spec_tests.report.model import Asked
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


def test_results_of_one_vector_are_one_line_and_the_order_is_that_of_the_specification() -> None:
    several = result("test_a:test_b[x/y]", op=Op.MEMORY_SCAN, level=2)
    asked = (
        Asked(operation=Op.MEMORY_SCAN, numerics=Numerics.BF16_IO),
        Asked(operation=Op.MEMORY_STEP, numerics=Numerics.F64),
        Asked(operation=Op.MEMORY_SCAN, numerics=Numerics.F64),
    )
    made = [
        several.model_copy(update={"asked": asked}),
        *(result(f"ATL-NS-001/{numerics}", numerics=numerics) for numerics in reversed(Numerics)),
    ]
    vector, prop = entries(made)
    assert (vector.id, vector.kind, vector.numerics) == ("ATL-NS-001", "vector", tuple(Numerics))
    assert (prop.id, prop.operations) == (several.id, (Op.MEMORY_STEP, Op.MEMORY_SCAN))
    assert prop.numerics == (Numerics.F64, Numerics.BF16_IO)

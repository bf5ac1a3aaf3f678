"""Each seeded fault is noticed by the test that claims to notice it, in every precision it names."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from spec_tests.contract.outcome import Outcome, classify
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import EVERY_PROFILE, Fault, FaultyPort, claimed_test
from spec_tests.faults.table import page
from spec_tests.port import Numerics, Port
from spec_tests.sampling import marks_of
from spec_tests.shapes import unchecked

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


FIRST = {fault.killed_by: fault for fault in reversed(CATALOGUE)}
"""The first fault of every test that claims any, which shows that the test can fail; `make ci` tries all faults."""

# The narrowest precision of a fault, where it is hardest to see, stands for the others.
CASES = [
    pytest.param(
        fault,
        numerics,
        id=f"{fault.id}-{numerics}",
        marks=marks_of(numerics is fault.numerics[-1] and FIRST[fault.killed_by] is fault),
    )
    for fault in CATALOGUE
    for numerics in fault.numerics
]


@pytest.mark.parametrize(("fault", "numerics"), CASES)
def test_the_claimed_test_fails_under_the_fault(fault: Fault, numerics: Numerics) -> None:
    reference: Port = import_module("spec_tests.ports.reference").ReferencePort()
    try:
        with unchecked(), pytest.raises(AssertionError) as caught:
            claimed_test(fault)(port=FaultyPort(reference, fault, numerics))
    except pytest.skip.Exception as skipped:
        pytest.fail(f"the claimed test does not run in {numerics}: {skipped}")
    assert classify(caught.value) is Outcome.FAIL, f"found by its form, not by what it computes: {caught.value}"


def test_fault_ids_are_unique() -> None:
    ids = [fault.id for fault in CATALOGUE]
    assert sorted(set(ids)) == sorted(ids)


def test_every_fault_has_an_origin_of_a_known_kind() -> None:
    known = re.compile("(source|misreading|porting): .")
    assert [fault.id for fault in CATALOGUE if not known.match(fault.origin)] == []


@pytest.mark.skipif(not PAGE.parent.is_dir(), reason="the documentation is in the source tree, not in the wheel")
def test_the_page_of_faults_is_that_of_the_catalogue() -> None:
    assert PAGE.read_text() == page(), "write it again: python -m spec_tests.faults.table > docs/faults.md"


def test_a_fault_is_looked_for_in_every_profile_unless_an_argument_says_why_not() -> None:
    restricted = {fault.id for fault in CATALOGUE if set(fault.numerics) != set(EVERY_PROFILE)}
    assert restricted == {fault.id for fault in CATALOGUE if fault.argument}

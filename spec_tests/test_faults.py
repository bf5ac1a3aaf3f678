"""Each seeded fault is noticed by the test that claims to notice it, in every precision it names."""

from collections.abc import Callable
from importlib import import_module

import pytest

from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import Fault, FaultyPort
from spec_tests.port import Numerics, Port

CASES = [
    pytest.param(fault, numerics, id=f"{fault.id}-{numerics}") for fault in CATALOGUE for numerics in fault.numerics
]


def claimed_test(fault: Fault) -> Callable[..., None]:
    module, _, name = fault.killed_by.partition(":")
    test: Callable[..., None] = getattr(import_module(f"spec_tests.{module}"), name)
    return test


@pytest.mark.parametrize(("fault", "numerics"), CASES)
def test_the_claimed_test_fails_under_the_fault(fault: Fault, numerics: Numerics) -> None:
    reference: Port = import_module("spec_tests.ports.reference").ReferencePort()
    try:
        with pytest.raises(AssertionError):
            claimed_test(fault)(port=FaultyPort(reference, fault, numerics))
    except pytest.skip.Exception as skipped:
        pytest.fail(f"the claimed test does not run in {numerics}: {skipped}")


def test_fault_ids_are_unique() -> None:
    ids = [fault.id for fault in CATALOGUE]
    assert sorted(set(ids)) == sorted(ids)

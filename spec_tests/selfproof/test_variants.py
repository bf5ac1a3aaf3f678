"""Legitimate variants: a planted false failure is reported, with what fails and why."""

from dataclasses import replace

from spec_tests.contract.outcome import Outcome
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import FaultyPort
from spec_tests.port import Numerics, Op, Port
from spec_tests.ports.numpy import NumpyPort
from spec_tests.selfproof.port_tests import PortTest
from spec_tests.selfproof.variants import failures, variants
from spec_tests.vectors.case import load_cases

CASES = load_cases(op=Op.STABLEMAX)


def never(_: Port) -> None:
    raise AssertionError("a limit that is too tight")


def test_a_sound_port_fails_nothing() -> None:
    found = list(failures("numpy", NumpyPort(), [], CASES))
    assert found == [None] * sum(len(case.numerics) for case in CASES)
    assert found


def test_a_planted_false_failure_is_reported() -> None:
    (found,) = failures("numpy", NumpyPort(), [PortTest("planted", (), never)], ())
    assert found is not None
    assert (found.variant, found.check, found.outcome) == ("numpy", "planted", Outcome.FAIL)
    assert found.message == "a limit that is too tight"


def test_a_test_of_a_chapter_that_a_port_has_no_operation_of_is_left_out() -> None:
    """Kills: a port of one operation that fails by what it does not have; a port that has it and is not asked."""
    port = NumpyPort()
    narrow = replace(port.declare(), operations=frozenset({Op.STABLEMAX}))
    vars(port)["declare"] = lambda: narrow
    tests = [PortTest(f"{word}:planted", (), never) for word in ("test_act", "test_stablemax", "planted")]
    found = [each.check for each in failures("numpy", port, tests, ()) if each is not None]
    assert found == ["test_stablemax:planted", "planted:planted"]


def test_a_stored_case_that_a_port_leaves_is_reported() -> None:
    fault = next(fault for fault in CATALOGUE if fault.id in CASES[0].kills and fault.op == Op.STABLEMAX)
    port = FaultyPort(NumpyPort(), fault, Numerics.F64)
    found = next(failures("faulty", port, [], CASES[:1]))
    assert found is not None
    assert found.check == f"{CASES[0].id}-f64"


def test_the_variants_sum_in_several_orders_and_come_from_other_languages() -> None:
    names = list(variants())
    assert {"jax", "compiled", "javascript"} <= set(names)
    assert sum(name.startswith("numpy") for name in names) == 4

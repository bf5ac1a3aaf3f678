"""Saboteurs find a planted test that tests nothing, and leave one alone that compares."""

import numpy as np
import pytest

from spec_tests.contract.driver import precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Numerics, Op, Port
from spec_tests.ports.numpy import NumpyPort
from spec_tests.selfproof.port_tests import port_tests
from spec_tests.selfproof.vacuity import EXEMPT, SABOTEURS, UNSUPPORTED, SabotagedPort, vacuous

INPUTS = {"x": generator(1).standard_normal((3, 4))}


def looks_only(port: Port) -> None:
    result = run(port, Op.STABLEMAX, Numerics.F64, INPUTS)
    assert result["probabilities"].shape == (3, 4)


def compares(port: Port) -> None:
    result = run(port, Op.STABLEMAX, Numerics.F64, INPUTS)
    sound = run(NumpyPort(), Op.STABLEMAX, Numerics.F64, INPUTS)
    result.assert_close("probabilities", sound["probabilities"])


@pytest.mark.parametrize("saboteur", SABOTEURS)
def test_a_planted_vacuous_test_is_found_and_one_that_compares_is_not(saboteur: str) -> None:
    assert vacuous("planted", saboteur, looks_only, NumpyPort(), Numerics.F64)
    assert not vacuous("planted", saboteur, compares, NumpyPort(), Numerics.F64)


def test_a_port_that_refuses_what_it_declares_passes_nothing() -> None:
    assert not vacuous("planted", UNSUPPORTED, looks_only, NumpyPort(), Numerics.F64)


def test_a_test_of_one_precision_is_put_to_the_saboteur_in_that_one_and_one_of_none_is_vacuous() -> None:
    def compares_in_bf16(port: Port) -> None:
        for numerics in precisions(port, Numerics.BF16_IO):
            result = run(port, Op.STABLEMAX, numerics, INPUTS)
            sound = run(NumpyPort(), Op.STABLEMAX, numerics, INPUTS)
            result.assert_close("probabilities", sound["probabilities"])

    def never_asks(_: Port) -> None:
        pytest.skip("not today")

    assert not vacuous("planted", "noise", compares_in_bf16, NumpyPort(), Numerics.F64)
    assert vacuous("planted", "noise", never_asks, NumpyPort(), Numerics.F64)


def test_a_saboteur_that_changed_nothing_accuses_nobody() -> None:
    def empty(port: Port) -> None:
        run(port, Op.STABLEMAX, Numerics.F64, {"x": np.zeros((0, 4))})

    assert not vacuous("planted", "noise", empty, NumpyPort(), Numerics.F64)


def test_an_exempt_test_is_left_alone() -> None:
    name, saboteur = next(iter(EXEMPT))
    assert not vacuous(name, saboteur, looks_only, NumpyPort(), Numerics.F64)


def test_every_exemption_names_a_test_and_a_saboteur_that_exist() -> None:
    names = {test.name for test in port_tests()}
    assert {test for test, _ in EXEMPT} <= names
    assert {saboteur for _, saboteur in EXEMPT} <= {*SABOTEURS, UNSUPPORTED}


def test_a_saboteur_declares_what_the_port_declares_in_one_precision() -> None:
    declared = SabotagedPort(NumpyPort(), "zeros", Numerics.F32).declare()
    assert declared.operations == NumpyPort().declare().operations
    assert declared.numerics == (Numerics.F32,)

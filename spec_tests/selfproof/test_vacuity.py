"""Saboteurs find a planted test that tests nothing, and leave one alone that compares."""

import numpy as np
import pytest

from spec_tests.contract.driver import precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Numerics, Op, Port
from spec_tests.ports.numpy import NumpyPort
from spec_tests.selfproof.port_tests import port_tests
from spec_tests.selfproof.report import prove
from spec_tests.selfproof.vacuity import (
    EXEMPT,
    SABOTEURS,
    UNSUPPORTED,
    SabotagedPort,
    accusations,
    vacuous,
)

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
    assert vacuous(saboteur, looks_only, NumpyPort(), Numerics.F64)
    assert not vacuous(saboteur, compares, NumpyPort(), Numerics.F64)


def test_a_port_that_refuses_what_it_declares_passes_nothing() -> None:
    assert not vacuous(UNSUPPORTED, looks_only, NumpyPort(), Numerics.F64)


def test_a_test_of_one_precision_is_put_to_the_saboteur_in_that_one_and_one_of_none_is_vacuous() -> None:
    def compares_in_bf16(port: Port) -> None:
        for numerics in precisions(port, Numerics.BF16_IO):
            result = run(port, Op.STABLEMAX, numerics, INPUTS)
            sound = run(NumpyPort(), Op.STABLEMAX, numerics, INPUTS)
            result.assert_close("probabilities", sound["probabilities"])

    def never_asks(_: Port) -> None:
        pytest.skip("not today")

    assert not vacuous("noise", compares_in_bf16, NumpyPort(), Numerics.F64)
    assert vacuous("noise", never_asks, NumpyPort(), Numerics.F64)


def test_a_saboteur_that_changed_nothing_accuses_nobody() -> None:
    def empty(port: Port) -> None:
        run(port, Op.STABLEMAX, Numerics.F64, {"x": np.zeros((0, 4))})

    assert not vacuous("noise", empty, NumpyPort(), Numerics.F64)


def test_an_exempt_test_is_accused_of_nothing_but_what_it_is_not_exempt_from() -> None:
    name = "test_halt:test_a_higher_threshold_never_means_fewer_steps"
    assert [saboteur for test, saboteur in EXEMPT if test == name] == ["nan"]
    others = [f"{name} passes the saboteur '{saboteur}'" for saboteur in SABOTEURS if saboteur != "nan"]
    assert accusations(name, looks_only, NumpyPort(), Numerics.F64) == others


def test_an_exemption_that_a_test_does_not_need_is_told() -> None:
    """Kills: an exemption that is believed and not tried, so that it outlives what it was made for."""
    name = "test_halt:test_a_higher_threshold_never_means_fewer_steps"
    told = f"{name}: exempt from the saboteur 'nan', and yet it fails it"
    assert accusations(name, compares, NumpyPort(), Numerics.F64) == [told]
    assert accusations("planted", compares, NumpyPort(), Numerics.F64) == []


def test_the_part_is_wrong_where_an_exemption_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: exemptions that a run of the part passes over."""
    monkeypatch.setitem(EXEMPT, ("ATL-NORM-001", "zeros"), "not needed")
    part = prove(("vacuity",), "ATL-NORM-001", print)["vacuity"]
    assert part.wrong == ["ATL-NORM-001: exempt from the saboteur 'zeros', and yet it fails it"]
    assert part.tried == len(SABOTEURS) + 1


def test_every_exemption_names_a_test_and_a_saboteur_that_exist() -> None:
    names = {test.name for test in port_tests()}
    assert {test for test, _ in EXEMPT} <= names
    assert {saboteur for _, saboteur in EXEMPT} <= {*SABOTEURS, UNSUPPORTED}


def test_a_saboteur_declares_what_the_port_declares_in_one_precision() -> None:
    declared = SabotagedPort(NumpyPort(), "zeros", Numerics.F32).declare()
    assert declared.operations == NumpyPort().declare().operations
    assert declared.numerics == (Numerics.F32,)

"""Muon as people run it passes every stored case of the profile that it runs in, and no other profile."""

from dataclasses import replace
from typing import Final

import pytest

from spec_tests.port import Declaration, Numerics, Op, Port
from spec_tests.ports.muon import OptaxMuon, PlainMuon, TorchMuon
from spec_tests.vectors.case import absent, load_cases
from spec_tests.vectors.judge import judge

OPERATIONS: Final = (Op.NEWTON_SCHULZ, Op.MUON_STEP)


def verdicts(port: Port, declared: Declaration) -> dict[str, bool]:
    """Return whether each stored case that a declaration leaves to ask is passed."""
    found = {}
    for op in OPERATIONS:
        for case in load_cases(op=op):
            for numerics in case.numerics:
                if absent(declared, case, numerics) is None:
                    found[f"{case.id}/{numerics}"] = judge(port, case, numerics).divergence is None
    return found


@pytest.mark.parametrize(("port", "least"), [(PlainMuon(), 7), (TorchMuon(), 2)], ids=["plain", "torch"])
def test_muon_in_bfloat16_is_green_in_bf16_inside(port: Port, least: int) -> None:
    found = verdicts(port, port.declare())
    assert len(found) >= least
    assert [name for name, passed in found.items() if not passed] == []


def test_muon_in_bfloat16_is_not_float32() -> None:
    port = PlainMuon()
    found = verdicts(port, replace(port.declare(), numerics=(Numerics.F32, Numerics.TF32)))
    assert found
    # A learning rate of 0 takes the orthogonalised update away, whatever it was computed in.
    still = {case.id for case in load_cases(op=Op.MUON_STEP) if case.config["learning_rate"] == 0}
    assert {name.partition("/")[0] for name, passed in found.items() if passed} <= still


def test_the_iteration_of_optax_is_green_in_float32() -> None:
    pytest.importorskip("optax", reason="optax is not installed; pip install optax")
    port = OptaxMuon()
    found = verdicts(port, port.declare())
    assert len(found) >= 5
    assert [name for name, passed in found.items() if not passed] == []

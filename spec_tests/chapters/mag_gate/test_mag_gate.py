"""docs/spec/mag_gate.md, against the formula and central differences."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.chapters.mag_gate.oracle import gate
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import assert_causal, assert_gradients, assert_rows_independent, representable
from spec_tests.drawing.inputs import central_difference, generator
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

MAG = Op.MAG_GATE
NAMES = ("attention", "memory", "logits")
FLOOR = 0.15


def case(seed: int) -> dict[str, Array]:
    rng = generator(seed)
    return {name: rng.standard_normal((2, 5, 4)) for name in NAMES}


def answer(kind: str, x: Mapping[str, Array], floor: float) -> tuple[Array, Array]:
    """Return the gate and the joined values that the formula gives."""
    return gate(kind, x["attention"], x["memory"], x["logits"], floor)


def expect(port: Port, kind: str, numerics: Numerics, floor: float) -> None:
    result = run(port, MAG, numerics, case(1), kind=kind, floor=floor)
    share, joined = answer(kind, result.inputs, floor)
    result.assert_close("gate", share)
    result.assert_close("joined", joined)


@pytest.mark.spec("MAG-1")
def test_source_scales_the_memory_by_the_squashed_attention(port: Port) -> None:
    for numerics in precisions(port):
        for floor in (0.0, FLOOR):
            with where_declared():
                expect(port, "source", numerics, floor)


@pytest.mark.spec("MAG-2")
def test_convex_gives_attention_the_share_of_the_gate(port: Port) -> None:
    for numerics in precisions(port):
        for floor in (0.0, FLOOR):
            with where_declared():
                expect(port, "convex", numerics, floor)


@pytest.mark.spec("MAG-9")
def test_convex_memory_gives_the_memory_the_share_of_the_gate(port: Port) -> None:
    for numerics in precisions(port):
        for floor in (0.0, FLOOR):
            with where_declared():
                expect(port, "convex_memory", numerics, floor)


@pytest.mark.spec("MAG-7")
def test_gated_attention_scales_attention_by_the_squashed_memory(port: Port) -> None:
    for numerics in precisions(port):
        for floor in (0.0, FLOOR):
            with where_declared():
                expect(port, "gated_attention", numerics, floor)


@pytest.mark.spec("MAG-8")
def test_the_product_squashes_nothing_and_has_no_floor(port: Port) -> None:
    for numerics in precisions(port):
        for floor in (0.0, FLOOR):
            with where_declared():
                expect(port, "product", numerics, floor)


@pytest.mark.spec("MAG-3")
def test_a_gate_near_its_floor_still_has_a_gradient(port: Port) -> None:
    inputs = case(2)
    inputs = representable(MAG, {**inputs, "logits": inputs["logits"] - 4.0})
    weight = generator(3).standard_normal(inputs["memory"].shape)
    sigmoid = 1.0 / (1.0 + np.exp(-inputs["logits"]))
    expected = {"logits": weight * (1.0 - FLOOR) * sigmoid * (1.0 - sigmoid)}
    assert_gradients(port, MAG, inputs, {"gate": weight}, expected, kind="convex", floor=FLOOR)


@pytest.mark.spec("MAG-4")
def test_the_gate_keeps_single_precision(port: Port) -> None:
    for numerics in precisions(port):
        for kind in ("source", "convex"):
            with where_declared():
                result = run(port, MAG, numerics, case(4), kind=kind, floor=FLOOR)
                share, _ = answer(kind, result.inputs, FLOOR)
                assert_close(result["gate"], share, 1e-6, f"gate of {kind} in {numerics}")


@pytest.mark.spec("MAG-5")
def test_the_gradients_are_those_of_the_formula(port: Port) -> None:
    inputs = representable(MAG, case(5))
    weight = generator(6).standard_normal(inputs["memory"].shape)
    for kind in ("source", "convex", "convex_memory", "gated_attention", "product"):
        expected = {}
        for name in NAMES:

            def loss(x: Array, name: str = name, kind: str = kind) -> float:
                changed = {**inputs, name: x}
                return float((answer(kind, changed, FLOOR)[1] * weight).sum())

            expected[name] = central_difference(loss, inputs[name])
        assert_gradients(port, MAG, inputs, {"joined": weight}, expected, kind=kind, floor=FLOOR)


@pytest.mark.spec("MAG-6")
def test_tokens_and_rows_stand_alone(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, MAG, numerics, case(7), kind="convex", floor=FLOOR)
            assert_causal(port, MAG, numerics, case(8), (1, 3), kind="convex", floor=FLOOR)

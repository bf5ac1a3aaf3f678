"""docs/spec/ltm.md, against a loop and central differences."""

import numpy as np
import pytest

from spec_tests.chapters.ltm.oracle import running_mean
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import (
    assert_any_split_agrees,
    assert_causal,
    assert_gradients,
    assert_rows_independent,
    representable,
    unchanged,
)
from spec_tests.drawing.inputs import central_difference, generator, positions, splits
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

LTM = Op.LTM_SCAN
DECAY = 0.8


def case(seed: int, time: int = 11) -> dict[str, Array]:
    rng = generator(seed)
    return {
        "x": rng.standard_normal((3, time, 4)),
        "carry": rng.standard_normal((3, 4)),
        "position": positions(3, time, seed),
    }


@pytest.mark.spec("LTM-1")
def test_the_mean_moves_a_share_of_the_way_to_each_token(port: Port) -> None:
    for numerics in precisions(port):
        for decay in (DECAY, 0.0, 1.0, 0.99):
            with where_declared():
                result = run(port, LTM, numerics, case(1), decay=decay)
                x = result.inputs
                y, carry = running_mean(x["x"], x["carry"], x["position"], decay)
                result.assert_close("y", y)
                result.assert_close("carry", carry)


@pytest.mark.spec("LTM-2")
def test_a_document_starts_from_zero_whatever_came_before(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = case(2)
            inputs["position"] = np.stack([np.arange(11) % 5, np.arange(11), 7 + np.arange(11)])
            among = run(port, LTM, numerics, inputs, decay=DECAY)
            x = among.inputs
            among.assert_close("y", running_mean(x["x"], x["carry"], x["position"], DECAY)[0])
            inputs["carry"][:2] += 100.0
            inputs["x"][0, :5] -= 50.0
            other = run(port, LTM, numerics, inputs, decay=DECAY)
            near = unchanged(among, "y")
            assert_close(other["y"][0, 5:], among["y"][0, 5:], near, "the second document")
            assert_close(other["y"][1], among["y"][1], near, "a row that begins with the call")
            assert not np.allclose(among["y"][2, 0], (1 - DECAY) * inputs["x"][2, 0]), "a running row forgot its carry"


@pytest.mark.spec("LTM-3")
def test_any_split_gives_the_same_outputs(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, LTM, numerics, case(3), splits(11, 4), decay=DECAY)


@pytest.mark.spec("LTM-4")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, LTM, numerics, case(5), decay=DECAY)


@pytest.mark.spec("LTM-4")
def test_the_future_does_not_count(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_causal(port, LTM, numerics, case(6), (1, 6, 10), decay=DECAY)


@pytest.mark.spec("LTM-5")
def test_the_gradient_flows_through_every_step(port: Port) -> None:
    inputs = representable(LTM, case(7, time=6))
    weight = generator(8).standard_normal(inputs["x"].shape)

    def loss(x: Array, carry: Array) -> float:
        return float((running_mean(x, carry, inputs["position"], DECAY)[0] * weight).sum())

    expected = {
        "x": central_difference(lambda x: loss(x, inputs["carry"]), inputs["x"]),
        "carry": central_difference(lambda carry: loss(inputs["x"], carry), inputs["carry"]),
    }
    assert_gradients(port, LTM, inputs, {"y": weight}, expected, decay=DECAY)

"""docs/spec/gate_floor.md, against the definition and the closed form of its slope."""

import numpy as np
import pytest

from spec_tests.chapters.gate_floor.cases import gates
from spec_tests.chapters.gate_floor.oracle import answer
from spec_tests.contract.driver import precisions, run
from spec_tests.contract.properties import assert_gradients, assert_rows_independent, representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

FLOOR = Op.GATE_FLOOR
LAST = 0.05


@pytest.mark.spec("FLOOR-1", "FLOOR-2", "FLOOR-3", "FLOOR-5")
def test_the_floor_is_that_of_the_step_and_of_the_token(port: Port) -> None:
    for numerics in precisions(port):
        for step in (0, 9_999, 10_000, 29_999, 30_000, 10**7):
            with where_declared():
                last = 0.0 if step > 30_000 else LAST
                inputs = gates(2520, 5, 70, 20) if step > 30_000 else gates(2520)
                found = run(port, FLOOR, numerics, inputs, step=step, last=last)
                for name, wanted in answer(dict(found.inputs), step, last).items():
                    found.assert_close(name, wanted)


@pytest.mark.spec("FLOOR-3")
def test_a_gate_far_below_its_floor_still_has_a_gradient(port: Port) -> None:
    inputs = gates(2521)
    inputs = representable(FLOOR, {**inputs, "raw": 0.01 * inputs["raw"], "own": np.full_like(inputs["own"], 0.8)})
    weight = generator(2522).standard_normal(inputs["raw"].shape)
    direct = generator(2526).standard_normal(inputs["own"].shape)
    own = direct + (weight * (1.0 - inputs["raw"])).sum(-1)
    expected = {"raw": weight * (1.0 - inputs["own"][..., None]), "own": own}
    assert_gradients(port, FLOOR, inputs, {"gate": weight, "floor": direct}, expected, step=0, last=LAST)


@pytest.mark.spec("FLOOR-4")
def test_the_risk_is_that_of_raw_gates(port: Port) -> None:
    """In a row of gates of 0.2 all are near a floor of 0.3, though behind it they are at 0.44."""
    for numerics in precisions(port):
        with where_declared():
            raw = np.stack([np.full((4, 2), 0.2), np.full((4, 2), 0.4), np.tile([0.2, 0.4], (4, 1))])
            inputs = {**gates(2523), "raw": raw, "own": np.full((3, 4), 0.3)}
            found = run(port, FLOOR, numerics, inputs, step=10**6, last=LAST)
            found.assert_close("risk", np.array([1.0, 0.0, 0.5]))


@pytest.mark.spec("FLOOR-5")
def test_tokens_and_rows_stand_alone(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, FLOOR, numerics, gates(2524, 3), step=20_000, last=LAST)
            found = run(port, FLOOR, numerics, gates(2525, 2, 6), step=20_000, last=LAST)
            turned = {name: found.inputs[name][:, ::-1].copy() for name in ("raw", "own")}
            other = run(port, FLOOR, numerics, {**found.inputs, **turned}, step=20_000, last=LAST)
            other.assert_close("gate", np.asarray(found["gate"], np.float64)[:, ::-1])

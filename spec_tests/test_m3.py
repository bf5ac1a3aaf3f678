"""docs/spec/m3.md, against the closed form."""

import numpy as np
import pytest

from spec_tests.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.properties import assert_rows_independent

WARMUP = 8
CROSSINGS = np.array([0, 3, 7, 8, 100])
LOGIT = np.array(0.9)


def case(seed: int) -> dict[str, Array]:
    rng = generator(seed)
    return {
        "previous": rng.standard_normal((len(CROSSINGS), 3, 4)),
        "initial": rng.standard_normal((3, 4)),
        "crossings": CROSSINGS,
        "alpha_logit": LOGIT,
    }


def mixing() -> Array:
    return np.array([0.1, 0.1 + 0.4 * 3 / 8, 0.1 + 0.4 * 7 / 8, 1 / (1 + np.exp(-0.9)), 1 / (1 + np.exp(-0.9))])


@pytest.mark.spec("M3-1")
def test_the_mixing_ramps_by_crossings_and_then_follows_the_logit(port: Port) -> None:
    for numerics in precisions(port):
        result = run(port, Op.M3_MIX, numerics, case(1), warmup_crossings=WARMUP)
        result.assert_close("mixing", mixing())
        learned = run(port, Op.M3_MIX, numerics, case(1), warmup_crossings=0)
        learned.assert_close("mixing", np.full(len(CROSSINGS), mixing()[-1]))


@pytest.mark.spec("M3-2")
def test_the_new_state_is_the_convex_mixture(port: Port) -> None:
    for numerics in precisions(port):
        result = run(port, Op.M3_MIX, numerics, case(2), warmup_crossings=WARMUP)
        a = mixing()[:, None, None]
        result.assert_close("mixed", a * result.inputs["previous"] + (1 - a) * result.inputs["initial"])


@pytest.mark.spec("M3-3")
def test_no_gradient_reaches_the_previous_state(port: Port) -> None:
    weight = generator(3).standard_normal((len(CROSSINGS), 3, 4))
    result = run_with_gradients(port, Op.M3_MIX, Numerics.F64, case(4), {"mixed": weight}, warmup_crossings=WARMUP)
    assert not result["grad.previous"].any(), "the previous state has a gradient"
    assert_close(result["grad.initial"], ((1 - mixing())[:, None, None] * weight).sum(0), 1e-11, "gradient of initial")


@pytest.mark.spec("M3-4")
def test_the_logit_learns_from_rows_past_the_warmup_only(port: Port) -> None:
    inputs = case(5)
    a = mixing()[-1]
    for row in range(len(CROSSINGS)):
        weight = np.zeros_like(inputs["previous"])
        weight[row] = generator(6).standard_normal((3, 4))
        result = run_with_gradients(port, Op.M3_MIX, Numerics.F64, inputs, {"mixed": weight}, warmup_crossings=WARMUP)
        slope = ((inputs["previous"][row] - inputs["initial"]) * weight[row]).sum() * a * (1 - a)
        expected = np.asarray(slope if CROSSINGS[row] >= WARMUP else 0.0)
        assert_close(result["grad.alpha_logit"], expected, 1e-11, f"gradient of the logit from row {row}")


@pytest.mark.spec("M3-5")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        assert_rows_independent(port, Op.M3_MIX, numerics, case(7), warmup_crossings=WARMUP)

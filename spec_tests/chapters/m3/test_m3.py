"""docs/spec/m3.md, against the closed form."""

import numpy as np
import pytest
from hypothesis import strategies as st

from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import GRADIENT, Inputs, assert_rows_independent, representable
from spec_tests.drawing.inputs import generator
from spec_tests.drawing.strategies import hold, seeds
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

WARMUP = 8
CROSSINGS = (0, 3, 7, 8, 100)
LOGIT = 0.9
EXACT = {Numerics.F64: 1e-11, Numerics.F32: 1e-5, Numerics.BF16_IO: 1e-5}


def case(seed: int, crossings: tuple[int, ...] = CROSSINGS, logit: float = LOGIT) -> dict[str, Array]:
    rng = generator(seed)
    drawn = {
        "previous": rng.standard_normal((len(crossings), 3, 4)),
        "initial": rng.standard_normal((3, 4)),
        "crossings": np.array(crossings, dtype=np.int64),
        "alpha_logit": np.array(logit),
    }
    return representable(Op.M3_MIX, drawn)


def mixing(inputs: Inputs, warmup: int = WARMUP) -> Array:
    learned = 1 / (1 + np.exp(-float(inputs["alpha_logit"])))
    return np.array([0.1 + 0.4 * n / warmup if n < warmup else learned for n in inputs["crossings"]])


@pytest.mark.spec("M3-1")
def test_the_mixing_ramps_by_crossings_and_then_follows_the_logit(port: Port) -> None:
    def ramps(drawn: tuple[list[int], int, float, int]) -> None:
        crossings, warmup, logit, seed = drawn
        inputs = case(seed, (*CROSSINGS, warmup, *crossings), logit)
        for numerics in precisions(port):
            with where_declared():
                result = run(port, Op.M3_MIX, numerics, inputs, warmup_crossings=warmup)
                result.assert_close("mixing", mixing(inputs, warmup))

    crossings = st.lists(st.integers(0, 1000), max_size=3)
    hold(st.tuples(crossings, st.sampled_from((0, 1, 8, 500)), st.sampled_from((-3.0, 0.0, 0.9, 4.0)), seeds), ramps)


@pytest.mark.spec("M3-2")
def test_the_new_state_is_the_convex_mixture(port: Port) -> None:
    inputs = case(2)
    a = mixing(inputs)[:, None, None]
    for numerics in precisions(port):
        with where_declared():
            result = run(port, Op.M3_MIX, numerics, inputs, warmup_crossings=WARMUP)
            result.assert_close("mixed", a * inputs["previous"] + (1 - a) * inputs["initial"])


@pytest.mark.spec("M3-3")
def test_no_gradient_reaches_the_previous_state(port: Port) -> None:
    inputs, weight = case(4), generator(3).standard_normal((len(CROSSINGS), 3, 4))
    wanted = ((1 - mixing(inputs))[:, None, None] * weight).sum(0)
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, Op.M3_MIX, numerics, inputs, {"mixed": weight}, warmup_crossings=WARMUP)
            assert not result["grad.previous"].any(), f"the previous state has a gradient in {numerics}"
            assert_close(result["grad.initial"], wanted, EXACT[numerics], f"gradient of initial in {numerics}")


@pytest.mark.spec("M3-4")
def test_the_logit_learns_from_rows_past_the_warmup_only(port: Port) -> None:
    inputs = case(5)
    a = mixing(inputs)[-1]
    for numerics in precisions(port):
        for row, crossings in enumerate(CROSSINGS):
            with where_declared():
                weight = np.zeros_like(inputs["previous"])
                weight[row] = generator(6).standard_normal((3, 4))
                asked = {"mixed": weight}
                result = run_with_gradients(port, Op.M3_MIX, numerics, inputs, asked, warmup_crossings=WARMUP)
                slope = ((inputs["previous"][row] - inputs["initial"]) * weight[row]).sum() * a * (1 - a)
                expected = np.asarray(slope if crossings >= WARMUP else 0.0)
                what = f"gradient of the logit from row {row} in {numerics}"
                assert_close(result["grad.alpha_logit"], expected, GRADIENT[numerics], what)


@pytest.mark.spec("M3-5")
def test_rows_are_independent(port: Port) -> None:
    inputs = case(7)
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, Op.M3_MIX, numerics, inputs, warmup_crossings=WARMUP)
            whole = run(port, Op.M3_MIX, numerics, inputs, warmup_crossings=WARMUP)
            for row in range(len(CROSSINGS)):
                with where_declared():
                    only = {name: inputs[name][row : row + 1] for name in ("previous", "crossings")}
                    alone = run(port, Op.M3_MIX, numerics, inputs | only, warmup_crossings=WARMUP)
                    for name in ("mixing", "mixed"):
                        assert_close(
                            alone[name], whole[name][row : row + 1], EXACT[numerics], f"{name} of row {row} alone"
                        )


@pytest.mark.spec("M3-2")
def test_a_square_state_is_mixed_as_it_lies(port: Port) -> None:
    rng = generator(8)
    square = {"previous": rng.standard_normal((2, 3, 3)), "initial": rng.standard_normal((3, 3))}
    inputs = {**square, "crossings": np.array([3, 9]), "alpha_logit": np.array(LOGIT)}
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, Op.M3_MIX, numerics, {"warmup_crossings": WARMUP}, inputs)

"""docs/spec/mugrokfast.md, against the loops: every part where the order shows it."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.chapters.mugrokfast.calls import CONFIG, call
from spec_tests.chapters.mugrokfast.oracle import mugrokfast_step
from spec_tests.contract.driver import assert_same, precisions, run
from spec_tests.contract.properties import representable
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

STEP = Op.MUGROKFAST_STEP


def assert_step(port: Port, config: Mapping[str, Scalar], inputs: Mapping[str, Array]) -> None:
    """Assert that everything after a step is what the loops make of it, in every precision."""
    given = representable(STEP, inputs)
    expected = mugrokfast_step(config, given, FORWARD)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, STEP, numerics, given, **config)
            for name, value in expected.items():
                result.assert_close(name, value)


@pytest.mark.spec("OPT-9")
def test_gradients_are_clipped_together_before_anything_else(port: Port) -> None:
    for clip in (0.5, 2.0):
        assert_step(port, {**CONFIG, "clip": clip}, call(1))
    # A norm below the bound is left as it is.
    small = call(2)
    small |= {name: 1e-2 * small[name] for name in ("projection_gradient", "vector_gradient")}
    assert_step(port, CONFIG, small)


@pytest.mark.spec("OPT-9")
def test_what_is_filtered_is_orthogonal_to_its_weight_first(port: Port) -> None:
    for perp, updates in ((True, (3, 2)), (False, (0, 4)), (True, (1, 0))):
        assert_step(port, {**CONFIG, "perp_grad": perp, "clip": 0.0}, call(3, updates=updates))


@pytest.mark.spec("OPT-9")
def test_the_matrix_goes_to_muon_and_the_vector_to_adamw(port: Port) -> None:
    plain = {**CONFIG, "strength": 0.0, "clip": 0.0, "qk_clip": 0.0}
    for seed, sizes in ((4, {}), (5, {"heads": 1, "model": 6}), (6, {"heads": 1, "dim": 1, "model": 4})):
        assert_step(port, plain, call(seed, updates=(2, 1), **sizes))


@pytest.mark.spec("OPT-9")
def test_heads_are_clipped_after_the_step_and_averages_taken_after_that(port: Port) -> None:
    for threshold, decay in ((0.5, 0.75), (2.0, 0.5), (0.0, 0.9), (1.0, 0.0)):
        assert_step(port, {**CONFIG, "qk_clip": threshold, "average": decay}, call(7, heads=3))


@pytest.mark.spec("OPT-9")
def test_a_parameter_without_a_gradient_stays_as_it_is(port: Port) -> None:
    config = {**CONFIG, "qk_clip": 0.0, "average": 0.0}
    for numerics in precisions(port):
        for still, moments in (("vector", ("mean", "square")), ("projection", ("buffer",))):
            with where_declared():
                inputs = representable(STEP, call(8, updates=(3, 2)))
                inputs[f"{still}_gradient"] = np.zeros_like(inputs[still])
                result = run(port, STEP, numerics, inputs, **config)
                # The other parameter moves.
                for name, value in mugrokfast_step(config, inputs, FORWARD).items():
                    result.assert_close(name, value)
                for name in (still, f"{still}_slow", *moments):
                    assert_same(result[name], result.inputs[name], f"{name} of a parameter without a gradient")

"""Steps by mass with other sets than the usual one, at an anchor that is not the memory, and their derivatives."""

from math import prod

import numpy as np
import pytest

from spec_tests.chapters.memory_grad.adjoint import Adjoint
from spec_tests.chapters.memory_step.calls import (
    ARCHITECTURES,
    ORTHOGONALISED,
    assert_loop,
    case,
    column,
    orthogonalised,
    plain,
    rule,
)
from spec_tests.chapters.newton_schulz.oracle import coefficients_of
from spec_tests.contract.driver import precisions, run, run_with_gradients
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Numerics, Op, Port
from spec_tests.tally import where_declared

STEP = Op.MEMORY_STEP
SLOPES = {Numerics.F64: 1e-9, Numerics.F32: 2e-4, Numerics.BF16_IO: 3e-2}
"""Largest error of a derivative, relative to the largest of its kind."""


@pytest.mark.spec("RULE-9")
def test_the_slope_is_one_for_every_set_and_number_of_steps(port: Port) -> None:
    for numerics in precisions(port):
        for name in ORTHOGONALISED:
            for coefficients, steps in (("quintic", 2), ("cubic", 3), ("polar_express", 1), ("polar_express", 9)):
                with where_declared():
                    mass = rule(name, chunk=5, step_scale="mass", coefficients=coefficients, newton_schulz_steps=steps)
                    inputs = plain(mass, momentum_decay=1.0, window_weights=0.0, retention=0.0)
                    slope = prod(coefficients_of(coefficients, step)[0] for step in range(steps))
                    for length in (1e-4, slope):
                        given = {**inputs, "momentum": length * inputs["momentum"]}
                        result = run(port, STEP, numerics, given, **mass)
                        release = -column(inputs["step_size"]) / (5 + 9.0) if name == "atlas" else 1.0
                        momentum = result.inputs["momentum"]
                        result.assert_close("weights", release * orthogonalised(mass, momentum, offset=slope))


@pytest.mark.spec("RULE-10")
def test_the_curvature_is_that_of_the_anchor_at_any_loss_scale(port: Port) -> None:
    for numerics in precisions(port):
        for architecture in ARCHITECTURES:
            for scale in (0.5, 1.0):
                with where_declared():
                    mass = rule("omega", architecture, step_scale="mass", loss_scale=scale)
                    # In the middle of a chunk, with keys long enough for kappa to count.
                    inputs = plain(mass)
                    inputs["keys"] = 2.5 * inputs["keys"]
                    inputs["weights"] = 3.0 * inputs["weights"]
                    assert not np.allclose(inputs["weights"], inputs["anchor"])
                    assert_loop(run(port, STEP, numerics, inputs, **mass), mass)


@pytest.mark.spec("RULE-9")
def test_gradients_flow_through_the_curvature(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            mass = rule("omega", step_scale="mass")
            inputs = case(mass, time=2, window=2, seed=23)
            inputs["keys"] = 2.5 * inputs["keys"]
            inputs = representable(Op.MEMORY_GRAD, inputs)
            asked = {"reads": generator(24).standard_normal(inputs["values"].shape)}
            asked = representable(Op.MEMORY_GRAD, asked)
            result = run_with_gradients(port, Op.MEMORY_GRAD, numerics, inputs, asked, **mass)
            wanted = Adjoint(mass).gradients(inputs, asked)
            for name in ("keys", "values", "anchor"):
                error = np.abs(result[f"grad.{name}"] - wanted[name]).max()
                largest = np.abs(wanted[name]).max()
                assert error <= SLOPES[numerics] * largest, (
                    f"gradient of {name} in {numerics}: off by {error:.3g} of {largest:.3g}"
                )

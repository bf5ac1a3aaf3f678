"""docs/spec/memory_mass.md: what normalisation by mass divides by, against `literal` steps and closed forms."""

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import (
    ARCHITECTURES,
    FEATURES,
    HEADS,
    ORTHOGONALISED,
    RULES,
    VALUES,
    assert_loop,
    case,
    column,
    orthogonalised,
    plain,
    rule,
    token,
)
from spec_tests.chapters.memory_step.loop import gelu, gelu_slope, predict, unpack
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.drawing.inputs import unit
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

STEP = Op.MEMORY_STEP


@pytest.mark.spec("RULE-9")
def test_mass_is_literal_with_the_stated_substitutions(port: Port) -> None:
    for numerics in precisions(port):
        for name in RULES:
            with where_declared():
                mass, literal = rule(name, chunk=5, step_scale="mass"), rule(name, chunk=5)
                inputs = token(case(mass, time=1, window=3, seed=22), 0)
                for keys in ("keys", "window_keys"):
                    # Shorter than one: kappa does not count.
                    inputs[keys] = 0.5 * inputs[keys]
                horizon = 0.0 if name == "delta" else 9.0
                fresh_share = 1.0 - (0.0 if name == "delta" else inputs["momentum_decay"])
                window = inputs["window_weights"].shape[-1]
                substituted = {
                    "step_size": inputs["step_size"] / (5 + horizon),
                    "window_weights": inputs["window_weights"] / window * np.asarray(fresh_share)[..., None],
                }
                wanted = run(port, STEP, numerics, inputs | substituted, **literal)
                actual = run(port, STEP, numerics, inputs, **mass)
                actual.assert_close("momentum", wanted["momentum"])
                if name not in ORTHOGONALISED:
                    actual.assert_close("reads", wanted["reads"])
                    actual.assert_close("weights", wanted["weights"])
                assert_loop(wanted, literal)


@pytest.mark.spec("RULE-9")
def test_mass_starts_newton_schulz_with_a_slope_of_one(port: Port) -> None:
    """Started at 1e-7, as in `literal`, a small momentum is written at full length; here it is written as it is."""
    slope = 3.4445**5
    for numerics in precisions(port):
        for name in ORTHOGONALISED:
            for length in (1e-3, 1.0, 30.0):
                with where_declared():
                    mass = rule(name, chunk=5, step_scale="mass", coefficients="quintic", newton_schulz_steps=5)
                    inputs = plain(mass, momentum_decay=1.0, window_weights=0.0, retention=0.0)
                    inputs["momentum"] *= length
                    result = run(port, STEP, numerics, inputs, **mass)
                    release = -column(inputs["step_size"]) / (5 + 9.0) if name == "atlas" else 1.0
                    written = release * orthogonalised(mass, inputs["momentum"], offset=slope)
                    result.assert_close("weights", written)
                    if length < 0.1:
                        assert_close(written, release * inputs["momentum"], 1e-2, "small momentum")


def kappa(architecture: str, anchor: Array, key: Array, value: Array) -> float:
    square = float(key @ key)
    if architecture == "matrix":
        return square
    outer, inner = unpack(architecture, anchor, FEATURES, VALUES)
    slopes = gelu_slope(inner @ key) * np.sqrt((outer**2).sum(0))
    coupling = 1.13 * np.linalg.norm(key) * np.linalg.norm(predict(architecture, [outer, inner], key) - value)
    return float((gelu(inner @ key) ** 2).sum() + square * (slopes**2).sum() + coupling)


@pytest.mark.spec("RULE-9", "RULE-10")
def test_mass_divides_each_gradient_by_its_curvature_where_that_exceeds_one(port: Port) -> None:
    for numerics in precisions(port):
        for architecture in ARCHITECTURES:
            with where_declared():
                mass, literal = (
                    rule("delta", architecture, chunk=1, step_scale="mass"),
                    rule("delta", architecture, chunk=1),
                )
                inputs = plain(mass)
                # One head of each row below one, one above, whatever the directions are.
                inputs["keys"] = unit(inputs["keys"]) * np.array([0.1, 3.0])[:, None]
                actual, wanted = run(port, STEP, numerics, inputs, **mass), run(port, STEP, numerics, inputs, **literal)
                divisors = np.ones((2, HEADS))
                for row, head in np.ndindex(2, HEADS):
                    key, value = actual.inputs["keys"][row, head], actual.inputs["values"][row, head]
                    divisors[row, head] = max(1.0, kappa(architecture, actual.inputs["weights"][row, head], key, value))
                assert divisors[:, 0].max() == 1.0
                assert divisors[:, 1].min() > 2.0
                for head in range(HEADS):
                    divided = wanted["momentum"][:, head] / divisors[:, head, None]
                    assert_close(actual["momentum"][:, head], divided, actual.tolerance("momentum"), "divided gradient")
                assert_loop(wanted, literal)

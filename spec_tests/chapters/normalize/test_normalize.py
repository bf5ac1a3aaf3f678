"""docs/spec/normalize.md, against the closed form."""

import numpy as np
import pytest
from hypothesis import strategies as st

from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import GRADIENT, assert_computes, representable
from spec_tests.drawing.inputs import central_difference, generator, unit
from spec_tests.drawing.strategies import hold, seeds
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

OP = Op.L2_NORMALIZE
EPS = 1e-3


def literal(x: Array, eps: float = EPS) -> Array:
    return np.asarray(x / np.sqrt((x**2).sum(-1, keepdims=True) + eps**2))


@pytest.mark.spec("NORM-1")
def test_vectors_are_divided_by_their_regularised_length(port: Port) -> None:
    def divided(drawn: tuple[int, int, float, int]) -> None:
        batch, dim, eps, seed = drawn
        rng = generator(seed)
        x = rng.standard_normal((batch, dim)) * rng.choice([1.0, 1e-3, 1e-4, 30.0, 1e-2], (batch, 1))
        for numerics in precisions(port):
            with where_declared():
                result = run(port, OP, numerics, {"x": x}, eps=eps)
                # Every vector on its own scale: a wrong length of a small one must show.
                for given, y in zip(result.inputs["x"], result["y"], strict=True):
                    assert_close(y, literal(given, eps), result.tolerance("y"), f"eps {eps} in {numerics}")

    drawn = st.tuples(st.sampled_from((0, 1, 5)), st.sampled_from((1, 3, 6)), st.sampled_from((1e-6, EPS, 0.5)), seeds)
    hold(drawn, divided, examples=20)


@pytest.mark.spec("NORM-2")
def test_zero_gives_zero_and_the_gradient_is_the_closed_form_with_bound_one_over_eps(port: Port) -> None:
    rng = generator(2)
    x, weight = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    x[1] = 0.0
    inputs = representable(OP, {"x": x})

    def loss(values: Array) -> float:
        return float((literal(values) * weight).sum())

    wanted = central_difference(loss, inputs["x"], step=1e-7)
    wanted[1] = weight[1] / EPS
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, OP, numerics, inputs, {"y": weight}, eps=EPS)
            assert not result["y"][1].any(), f"zero gives something in {numerics}"
            for row in range(3):
                tolerance = 10 * GRADIENT[numerics] if numerics is Numerics.F64 else GRADIENT[numerics]
                assert_close(result["grad.x"][row], wanted[row], tolerance, f"gradient of row {row} in {numerics}")


@pytest.mark.spec("NORM-3")
def test_huge_and_tiny_vectors_keep_their_direction(port: Port) -> None:
    x = generator(3).standard_normal((4, 5))
    for numerics in precisions(port):
        for scale in (1e20, 1e12):
            with where_declared():
                given = run(port, OP, numerics, {"x": scale * x}, eps=EPS)
                assert_close(given["y"], unit(given.inputs["x"]), given.tolerance("y"), f"scale {scale} in {numerics}")
        for scale in (1e-20, 1e-12):
            with where_declared():
                tiny = run(port, OP, numerics, {"x": scale * x}, eps=EPS)
                assert_close(tiny["y"], tiny.inputs["x"] / EPS, tiny.tolerance("y"), f"scale {scale} in {numerics}")


@pytest.mark.spec("NORM-4")
def test_each_vector_of_a_batch_stands_alone(port: Port) -> None:
    x = generator(4).standard_normal((4, 5))
    for numerics in precisions(port):
        with where_declared():
            whole = run(port, OP, numerics, {"x": x}, eps=EPS)
            assert_computes(whole)
            for row in range(4):
                with where_declared():
                    alone = run(port, OP, numerics, {"x": x[row : row + 1]}, eps=EPS)
                    what = f"a vector by itself in {numerics}"
                    assert_close(alone["y"], whole["y"][row : row + 1], whole.tolerance("y"), what)


@pytest.mark.spec("NORM-1")
def test_vectors_wider_than_a_register_are_normalised_to_their_end(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, OP, numerics, {"eps": EPS}, {"x": generator(9).standard_normal((2, 18))})

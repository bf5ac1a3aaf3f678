"""docs/spec/polynomial.md, against sums over monomials and closed-form kernels."""

from collections.abc import Callable
from functools import partial
from itertools import combinations_with_replacement
from math import comb

import numpy as np
import pytest
from hypothesis import strategies as st

from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import assert_gradients, assert_rows_independent, representable
from spec_tests.drawing.inputs import central_difference, generator, unit
from spec_tests.drawing.strategies import hold, seeds
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

OP = Op.POLYNOMIAL_FEATURES
# Neither 1/i! nor monotonic, so that a coefficient in the wrong place shows.
COEFFICIENTS = np.array([0.7, 1.9, 0.4, 2.3])
ROUNDING = {Numerics.F64: 1e-12, Numerics.F32: 1e-5, Numerics.BF16_IO: 2e-2}
Kernel = Callable[[Array, Array, Array], Array]
BASES = ("monomial_weighted", "kronecker", "monomial", "elementwise")


def features(port: Port, x: Array, degree: int, basis: str, numerics: Numerics = Numerics.F64) -> Array:
    inputs = {"x": x, "coefficients": COEFFICIENTS[:degree]}
    result = run(port, OP, numerics, inputs, basis=basis)
    assert np.isfinite(result["features"]).all(), f"{basis}: not finite"
    return result["features"]


def dot_product_kernel(left: Array, right: Array, coefficients: Array) -> Array:
    product = left @ right.T
    return np.asarray(sum(a * product**i for i, a in enumerate(coefficients, start=1)))


def monomial_kernel(left: Array, right: Array, coefficients: Array) -> Array:
    total = np.zeros((len(left), len(right)))
    for i, a in enumerate(coefficients, start=1):
        for beta in combinations_with_replacement(range(left.shape[1]), i):
            total += a * np.outer(left[:, beta].prod(-1), right[:, beta].prod(-1))
    return total


def assert_kernel(port: Port, basis: str) -> None:
    """Compare the Gram matrix of the features, in which the order of features does not show, with the closed form."""
    kernel = monomial_kernel if basis == "monomial" else dot_product_kernel

    def equals(drawn: tuple[int, int, int, int]) -> None:
        batch, dim, degree, seed = drawn
        rng = generator(seed)
        x = unit(rng.standard_normal((batch, dim))) * np.linspace(0.5, 1.5, batch)[:, None]
        inputs = representable(OP, {"x": x, "coefficients": rng.uniform(0.2, 2.5, degree)})
        expected = kernel(inputs["x"], inputs["x"], inputs["coefficients"])
        for numerics in precisions(port):
            with where_declared():
                result = run(port, OP, numerics, inputs, basis=basis)
                lifted = result["features"]
                what = f"{basis} d={dim} p={degree} in {numerics}"
                assert_close(lifted @ lifted.T, expected, result.tolerance("features"), what)

    hold(st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(1, 4), seeds), equals, examples=15)


@pytest.mark.spec("FEAT-1")
def test_the_number_of_features_is_that_of_the_basis(port: Port) -> None:
    for numerics in precisions(port):
        for dim, degree in ((1, 1), (1, 4), (3, 3), (6, 2), (16, 2)):
            x = generator(dim).standard_normal((2, dim))
            for basis in BASES:
                with where_declared():
                    expected = {"kronecker": sum(dim**i for i in range(1, degree + 1)), "elementwise": dim}.get(
                        basis, comb(dim + degree, degree) - 1
                    )
                    shape = features(port, x, degree, basis, numerics).shape
                    assert shape == (2, expected), f"{basis} d={dim} p={degree} in {numerics}"


@pytest.mark.spec("FEAT-2")
def test_weighted_monomials_give_the_dot_product_kernel_with_its_coefficients(port: Port) -> None:
    assert_kernel(port, "monomial_weighted")


@pytest.mark.spec("FEAT-3")
def test_tensor_powers_give_the_dot_product_kernel_with_its_coefficients(port: Port) -> None:
    assert_kernel(port, "kronecker")


@pytest.mark.spec("FEAT-4")
def test_plain_monomials_give_the_sum_over_monomials(port: Port) -> None:
    assert_kernel(port, "monomial")


@pytest.mark.spec("FEAT-5")
def test_elementwise_features_are_the_polynomial_of_each_entry(port: Port) -> None:
    x = generator(40).standard_normal((5, 6))
    for numerics in precisions(port):
        for degree in (1, 2, 4):
            with where_declared():
                inputs = {"x": x, "coefficients": COEFFICIENTS[:degree]}
                result = run(port, OP, numerics, inputs, basis="elementwise")
                given = result.inputs["x"]
                terms = sum(a * given**i for i, a in enumerate(COEFFICIENTS[:degree], start=1))
                result.assert_close("features", 1.0 + terms)


@pytest.mark.spec("FEAT-6")
def test_there_is_no_constant_feature(port: Port) -> None:
    for numerics in precisions(port):
        for basis in ("monomial_weighted", "kronecker", "monomial"):
            with where_declared():
                assert not features(port, np.zeros((2, 4)), 3, basis, numerics).any(), f"{basis} in {numerics}"


@pytest.mark.spec("FEAT-7")
def test_features_of_unit_vectors_have_the_rank_of_polynomials_on_the_sphere(port: Port) -> None:
    for numerics in precisions(port):
        for dim, degree in ((8, 1), (8, 2), (5, 3)):
            with where_declared():
                constant = comb(dim + degree - 2, degree - 2) if degree > 1 else 1
                expected = comb(dim + degree, degree) - constant
                x = unit(generator(50 + degree).standard_normal((expected + 20, dim)))
                values = np.linalg.svd(features(port, x, degree, "monomial_weighted", numerics), compute_uv=False)
                assert len(values) >= expected, f"d={dim} p={degree}: fewer than {expected} features"
                assert values[0] < 100.0 * values[expected - 1], (
                    f"d={dim} p={degree}: rank below {expected} in {numerics}"
                )
                # What is left beyond the rank is rounding, of the unit length too.
                beyond = values[expected:].max(initial=0.0)
                assert beyond <= ROUNDING[numerics] * values[0], (
                    f"d={dim} p={degree}: rank above {expected} in {numerics}"
                )


@pytest.mark.spec("FEAT-8")
def test_the_gradients_with_respect_to_vectors_and_coefficients_are_those_of_the_kernel(port: Port) -> None:
    given = representable(OP, {"x": generator(60).standard_normal((3, 4)), "coefficients": COEFFICIENTS[:3]})
    x, coefficients = given["x"], given["coefficients"]
    for basis, kernel in (("monomial_weighted", dot_product_kernel), ("monomial", monomial_kernel)):
        with where_declared():
            # The loss sum_ab w_ab f(x_a).f(x_b) depends on the features through inner products only; its cotangent is
            # 2 w f.
            weight = generator(61).standard_normal((3, 3))
            weight = weight + weight.T

            def loss(x: Array, a: Array, kernel: Kernel = kernel, weight: Array = weight) -> float:
                return float((weight * kernel(x, x, a)).sum())

            expected = {
                "x": central_difference(partial(loss, a=coefficients), x),
                "coefficients": central_difference(partial(loss, x), coefficients),
            }
            lifted = features(port, x, 3, basis, next(precisions(port)))
            assert_gradients(port, OP, given, {"features": 2.0 * weight @ lifted}, expected, basis=basis)


@pytest.mark.spec("FEAT-9")
def test_each_vector_of_a_batch_stands_alone(port: Port) -> None:
    inputs = {"x": generator(70).standard_normal((4, 5)), "coefficients": COEFFICIENTS[:2]}
    for numerics in precisions(port):
        for basis in BASES:
            with where_declared():
                assert_rows_independent(port, OP, numerics, inputs, basis=basis)

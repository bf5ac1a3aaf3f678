"""docs/spec/newton_schulz.md, against a loop in numpy, the singular value decomposition and finite differences."""

from functools import cache
from typing import Final

import numpy as np
import pytest
from hypothesis import strategies as st

from spec_tests.chapters.newton_schulz.oracle import iteration, scalar_iteration
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import assert_gradients, assert_rows_independent, representable
from spec_tests.drawing.inputs import central_difference, generator
from spec_tests.drawing.strategies import hold, seeds
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

OP = Op.NEWTON_SCHULZ
SETS: Final = ("quintic", "cubic", "polar_express")
SHAPES: Final = ((3, 4, 7), (2, 7, 4), (2, 5, 5), (1, 1, 6), (2, 1, 1))
SINGLE: Final = 1e-4
"""What a few steps make of the rounding of float32, in which the matrices travel in `bf16_io` too."""


def orthogonalised(port: Port, matrix: Array, name: str, steps: int, numerics: Numerics) -> Array:
    result = run(port, OP, numerics, {"matrix": matrix}, coefficients=name, steps=steps)
    assert np.isfinite(result["orthogonal"]).all(), f"{name}: not finite"
    return result["orthogonal"]


def exact(numerics: Numerics, double: float, single: float = SINGLE) -> float:
    """Return the tolerance of a property that holds up to rounding."""
    return double if numerics is Numerics.F64 else single


def drawn_matrix(shape: tuple[int, ...], seed: int) -> Array:
    return representable(OP, {"matrix": generator(seed).standard_normal(shape)})["matrix"]


def with_singular_values(sigma: Array, rows: int, columns: int, seed: int) -> Array:
    rng = generator(seed)
    left, _ = np.linalg.qr(rng.standard_normal((rows, rows)))
    right, _ = np.linalg.qr(rng.standard_normal((columns, columns)))
    return np.asarray(left[:, : len(sigma)] * sigma @ right[:, : len(sigma)].T)


@cache
def literal(seed: int, shape: tuple[int, ...], name: str, steps: int) -> Array:
    return np.stack([iteration(matrix, name, steps) for matrix in drawn_matrix(shape, seed)])


@pytest.mark.spec("NS-1", "NS-10")
def test_the_result_is_the_literal_iteration(port: Port) -> None:
    for numerics in precisions(port):
        for seed, shape in enumerate(SHAPES):
            for name in SETS:
                for steps in (0, 1, 2, 5, 10):
                    with where_declared():
                        given = {"matrix": drawn_matrix(shape, seed)}
                        result = run(port, OP, numerics, given, coefficients=name, steps=steps)
                        result.assert_close("orthogonal", literal(seed, shape, name, steps), factor=10.0)


@pytest.mark.spec("NS-2")
def test_a_tall_matrix_gives_the_transpose_of_the_wide_result(port: Port) -> None:
    tall = generator(11).standard_normal((2, 9, 4))
    for numerics in precisions(port):
        for name in SETS:
            with where_declared():
                wide = orthogonalised(port, np.swapaxes(tall, 1, 2), name, 5, numerics)
                assert np.linalg.norm(wide[0]) > 1.0, f"{name} does not spread the singular values"
                turned = orthogonalised(port, tall, name, 5, numerics)
                assert not np.allclose(turned, tall, rtol=1e-3), f"{name} answers the matrix that it was given"
                assert_close(turned, np.swapaxes(wide, 1, 2), exact(numerics, 1e-12), f"{name}: tall against wide")


@pytest.mark.spec("NS-3")
def test_singular_vectors_are_kept_and_singular_values_follow_the_scalar_iteration(port: Port) -> None:
    def kept(drawn: tuple[int, int, str, int, int]) -> None:
        rows, columns, name, steps, seed = drawn
        matrix = drawn_matrix((rows, columns), seed)
        left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
        start = sigma / (np.sqrt((sigma**2).sum()) + 1e-7)
        expected = left * scalar_iteration(start, name, steps) @ right
        for numerics in precisions(port):
            with where_declared():
                actual = orthogonalised(port, matrix[None], name, steps, numerics)[0]
                assert_close(actual, expected, exact(numerics, 1e-10, 3e-4), f"{name} {rows}x{columns} in {numerics}")

    # Only a square matrix can be multiplied from the wrong side.
    for square in SETS:
        kept((6, 6, square, 4, 1))
    width = st.integers(1, 9)
    hold(st.tuples(width, width, st.sampled_from(SETS), st.integers(0, 4), seeds), kept, examples=16)


@pytest.mark.spec("NS-4")
def test_the_quintic_set_ends_in_its_band_and_not_at_one(port: Port) -> None:
    sigma = np.array([0.95, 0.29, 0.1, 0.05, 0.02, 0.0101])
    matrix = with_singular_values(sigma / np.sqrt((sigma**2).sum()), 6, 9, seed=3)
    for numerics in precisions(port):
        slack = exact(numerics, 1e-4, 1e-3)
        for steps in (5, 6, 10, 25):
            with where_declared():
                values = np.linalg.svd(
                    orthogonalised(port, matrix[None], "quintic", steps, numerics)[0], compute_uv=False
                )
                assert values.min() >= 0.6818 - slack, f"{steps} steps reach down to {values.min()}"
                assert values.max() <= 1.1344 + slack, f"{steps} steps reach up to {values.max()}"
                assert np.abs(values - 1.0).max() > 0.02, f"{steps} steps settle at one"


@pytest.mark.spec("NS-5")
def test_the_cubic_and_polar_express_sets_converge_to_the_polar_factor(port: Port) -> None:
    sigma = np.array([0.97, 0.2, 0.1, 0.03, 0.004, 0.0011])
    matrix = with_singular_values(sigma / np.sqrt((sigma**2).sum()), 6, 8, seed=4)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    for numerics in precisions(port):
        with where_declared():
            for name, steps in (("cubic", 40), ("polar_express", 12)):
                with where_declared():
                    # A singular value of 0.001 magnifies the rounding of float32 a thousandfold.
                    polar = orthogonalised(port, matrix[None], name, steps, numerics)[0]
                    assert_close(polar, left @ right, exact(numerics, 1e-10, 3e-3), f"{name} in {numerics}")
            five = orthogonalised(port, matrix[None], "polar_express", 5, numerics)[0]
            values = np.linalg.svd(five, compute_uv=False)
            assert np.abs(values - 1.0).max() <= 0.15, f"five steps leave singular values {values}"


@pytest.mark.spec("NS-6")
def test_zero_gives_zero_and_a_finite_gradient(port: Port) -> None:
    zero = np.zeros((2, 3, 4))
    ones = {"orthogonal": np.ones_like(zero)}
    for numerics in precisions(port):
        with where_declared():
            for name in SETS:
                with where_declared():
                    assert not orthogonalised(port, zero, name, 5, numerics).any()
            result = run_with_gradients(port, OP, numerics, {"matrix": zero}, ones, coefficients="quintic", steps=5)
            # At zero the norm has no first-order part: the derivative is a/1e-7 after one step, a^5/1e-7 after five.
            steep = np.full_like(zero, 3.4445**5 / 1e-7)
            assert_close(result["grad.matrix"], steep, exact(numerics, 1e-9), "gradient at zero")


@pytest.mark.spec("NS-7")
def test_the_scale_of_the_input_does_not_matter(port: Port) -> None:
    matrix = generator(5).standard_normal((2, 4, 6))
    for numerics in precisions(port):
        with where_declared():
            reference = orthogonalised(port, matrix, "quintic", 5, numerics)
            for scale in (2.0**-10, 2.0**10, 1e20):
                with where_declared():
                    scaled = orthogonalised(port, scale * matrix, "quintic", 5, numerics)
                    assert_close(scaled, reference, 1e-3, f"scale {scale}")
            # The largest entry by size is the smallest here; its square is no float32.
            negative = -np.abs(matrix)
            small, large = (orthogonalised(port, s * negative, "quintic", 5, numerics) for s in (1.0, 2.0**70))
            assert_close(large, small, 1e-3, "scale 2^70 of negative entries")
            tiny = orthogonalised(port, 1e-20 * matrix, "quintic", 0, numerics)
            assert_close(tiny, 1e-13 * matrix, 1e-3, "scale 1e-20 before the first step")
            orthogonalised(port, 1e-20 * matrix, "quintic", 10, numerics)


@pytest.mark.spec("NS-8")
def test_the_gradient_runs_through_every_step_and_the_norm(port: Port) -> None:
    for name, shape in (("quintic", (1, 3, 4)), ("cubic", (1, 4, 3)), ("polar_express", (1, 3, 3))):
        matrix, weight = drawn_matrix(shape, shape[1]), generator(shape[2]).standard_normal(shape)

        def loss(x: Array, name: str = name, weight: Array = weight) -> float:
            return float((iteration(x[0], name, 3) * weight[0]).sum())

        expected = {"matrix": central_difference(loss, matrix)}
        given, cotangents = {"matrix": matrix}, {"orthogonal": weight}
        assert_gradients(port, OP, given, cotangents, expected, coefficients=name, steps=3)


@pytest.mark.spec("NS-9")
def test_each_matrix_of_a_batch_stands_alone(port: Port) -> None:
    matrix = generator(6).standard_normal((3, 4, 5)) * np.array([1.0, 100.0, 0.01])[:, None, None]
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, OP, numerics, {"matrix": matrix}, coefficients="quintic", steps=5)

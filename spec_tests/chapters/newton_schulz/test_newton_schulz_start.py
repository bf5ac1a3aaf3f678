"""docs/spec/newton_schulz.md: where the iteration starts, by the key `start` and by the set."""

import numpy as np
import pytest

from spec_tests.chapters.newton_schulz.oracle import PUBLISHED, iteration, polynomials
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.NEWTON_SCHULZ
NORMS = (1e-9, 3e-8, 1.5e-7, 1.0)
"""Of matrices far below the bound of 1e-7, about it, and far above."""


def matrix_of(norm: float, seed: int) -> Array:
    """Return a batch of one matrix of this norm, its entries numbers of single precision."""
    x = generator(seed).standard_normal((1, 3, 5))
    return np.asarray(norm * x / np.sqrt((x**2).sum()), dtype=np.float32).astype(np.float64)


@pytest.mark.spec("NS-1", "NS-11")
def test_what_the_norm_is_kept_from_zero_by_is_as_the_configuration_says(port: Port) -> None:
    for numerics in precisions(port):
        for norm in NORMS:
            for start in ("add", "clamp"):
                with where_declared():
                    x = matrix_of(norm, 1)
                    length = np.sqrt((x**2).sum())
                    begun = x / (length + 1e-7 if start == "add" else max(length, 1e-7))
                    for steps in (0, 2):
                        config = {"coefficients": "quintic", "steps": steps, "start": start}
                        result = run(port, OP, numerics, {"matrix": x}, **config)
                        result.assert_close("orthogonal", polynomials(begun[0], "quintic", steps)[None])


@pytest.mark.spec("NS-11")
def test_below_its_bound_a_clamped_norm_has_no_gradient(port: Port) -> None:
    asked = {"orthogonal": generator(2).standard_normal((1, 3, 5))}
    for numerics in precisions(port):
        with where_declared():
            config: dict[str, Scalar] = {"coefficients": "quintic", "steps": 0, "start": "clamp"}
            result = run_with_gradients(port, OP, numerics, {"matrix": matrix_of(1e-8, 3)}, asked, **config)
            assert_close(result["grad.matrix"], asked["orthogonal"] / 1e-7, 1e-5, f"gradient of G / 1e-7 in {numerics}")


@pytest.mark.spec("NS-12")
def test_the_published_algorithm_has_its_cushion_at_the_start_too(port: Port) -> None:
    matrix = generator(4).standard_normal((1, 4, 6))
    for numerics in precisions(port):
        for steps in (1, 3, 9):
            with where_declared():
                result = run(port, OP, numerics, {"matrix": matrix}, coefficients="polar_express_paper", steps=steps)
                wanted = algorithm(result.inputs["matrix"][0], steps)
                result.assert_close("orthogonal", wanted[None], factor=10.0)
                if steps == 3:
                    ours = iteration(matrix[0], "polar_express", steps)
                    assert np.abs(wanted - ours).max() > 0.02, "the two sets are one"


def algorithm(matrix: Array, steps: int) -> Array:
    """Return Algorithm 1 of 2505.16932 for a matrix with no more rows than columns."""
    x = matrix / (1.01 * np.sqrt((matrix**2).sum()) + 1e-7)
    cushioned = [tuple(c / 1.01**n for c, n in zip(row, (1, 3, 5), strict=True)) for row in PUBLISHED[:-1]]
    for a, b, c in [*cushioned, *(steps * [PUBLISHED[-1]])][:steps]:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return np.asarray(x)

"""docs/spec/metrics.md, against explicit sums, closed forms and embeddings whose answer is known."""

import numpy as np
import pytest

from spec_tests.chapters.metrics.oracle import circle, concentration
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

FOURIER, FIT = Op.FOURIER_CONCENTRATION, Op.CIRCULAR_FIT
PRIME = 23


def shuffles(count: int, numbers: int, seed: int) -> Array:
    rng = generator(seed)
    return np.asarray([rng.permutation(numbers) for _ in range(count)])


def ring(frequency: int, numbers: int = PRIME, noise: float = 0.0, seed: int = 3, dim: int = 5) -> Array:
    """Return a circle at one frequency, in a random plane, off the origin."""
    rng = generator(seed)
    plane, _ = np.linalg.qr(rng.standard_normal((dim, 2)))
    angle = 2.0 * np.pi * frequency * np.arange(numbers) / numbers
    points = 2.0 * np.stack([np.cos(angle), np.sin(angle)], -1) @ plane.T + rng.standard_normal(dim)
    return np.asarray(points + noise * rng.standard_normal(points.shape))


def cloud(numbers: int, seed: int) -> Array:
    """Return points whose two main components are apart from each other and from the rest."""
    points: Array = generator(seed).standard_normal((numbers, 5)) * np.array([3.0, 2.0, 0.5, 0.4, 0.3])
    return points


@pytest.mark.spec("GROK-1")
def test_concentration_is_the_share_of_the_strongest_frequencies(port: Port) -> None:
    for numerics in precisions(port):
        for numbers in (PRIME, 24):
            for top in (1, 3, 100):
                with where_declared():
                    result = run(port, FOURIER, numerics, {"embedding": cloud(numbers, 1)}, top=top)
                    result.assert_close("concentration", concentration(result.inputs["embedding"], top))


@pytest.mark.spec("GROK-2")
def test_a_circle_at_any_frequency_scores_one(port: Port) -> None:
    for numerics in precisions(port):
        for frequency in (1, 7, 11, 16):
            with where_declared():
                result = run(port, FOURIER, numerics, {"embedding": ring(frequency)}, top=1)
                assert_close(result["concentration"], np.array(1.0), 1e-5, f"concentration of frequency {frequency}")


@pytest.mark.spec("GROK-3")
def test_an_impulse_has_a_flat_spectrum_and_a_constant_none(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            impulse = np.zeros((PRIME, 3))
            impulse[4] = [1.0, -2.0, 0.5]
            for top in (1, 2, 5):
                with where_declared():
                    result = run(port, FOURIER, numerics, {"embedding": impulse}, top=top)
                    assert_close(
                        result["concentration"], np.array(top / (PRIME // 2)), 1e-5, "concentration of an impulse"
                    )
            flat = run(port, FOURIER, numerics, {"embedding": np.zeros((PRIME, 3))}, top=1)
            assert float(flat["concentration"]) == 0.0, "an embedding of zeros has a spectrum"


@pytest.mark.spec("GROK-4")
def test_the_fit_is_that_of_the_least_squares_circle(port: Port) -> None:
    for numerics in precisions(port):
        for embedding in (cloud(PRIME, 4), ring(5, noise=0.3)):
            with where_declared():
                inputs = {"embedding": embedding, "permutations": shuffles(3, PRIME, 5)}
                result = run(port, FIT, numerics, inputs)
                result.assert_close("fit", circle(result.inputs["embedding"], inputs["permutations"])[0])


@pytest.mark.spec("GROK-5")
def test_the_order_is_the_strongest_frequency_of_the_angles(port: Port) -> None:
    for numerics in precisions(port):
        for embedding in (cloud(PRIME, 6), ring(9, noise=0.5)):
            with where_declared():
                inputs = {"embedding": embedding, "permutations": shuffles(3, PRIME, 7)}
                result = run(port, FIT, numerics, inputs)
                result.assert_close("order", circle(result.inputs["embedding"], inputs["permutations"])[1])


@pytest.mark.spec("GROK-6")
def test_the_order_of_a_circle_exceeds_that_of_its_permutations(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = {"embedding": ring(8, noise=0.2), "permutations": shuffles(40, PRIME, 8)}
            result = run(port, FIT, numerics, inputs)
            result.assert_close("null", circle(result.inputs["embedding"], inputs["permutations"])[2])
            assert result["order"] > 0.9, "a circle has no order"
            assert (result["null"] < 0.75).all(), "chance has the order of a circle"


@pytest.mark.spec("GROK-7")
def test_scale_shift_and_rotation_change_nothing(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            turn, _ = np.linalg.qr(generator(9).standard_normal((5, 5)))
            embedding, permutations = cloud(PRIME, 10), shuffles(3, PRIME, 11)
            moved = 7.0 * embedding @ turn + 2.0
            plain = run(port, FIT, numerics, {"embedding": embedding, "permutations": permutations})
            plain.assert_close("fit", circle(plain.inputs["embedding"], permutations)[0])
            other = run(port, FIT, numerics, {"embedding": moved, "permutations": permutations})
            for name in ("fit", "order", "null"):
                assert_close(other[name], plain[name], 10 * plain.tolerance(name), f"{name} after a motion")
            shares = [
                run(port, FOURIER, numerics, {"embedding": x}, top=2)["concentration"] for x in (embedding, moved)
            ]
            assert_close(shares[1], shares[0], 1e-4, "concentration after a motion")
            assert_close(shares[0], concentration(embedding, 2), 1e-5, "concentration before it")

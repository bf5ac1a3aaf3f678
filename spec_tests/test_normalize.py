"""docs/spec/normalisation.md, against the closed form."""

import numpy as np
import pytest

from spec_tests.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.inputs import central_difference, generator, unit
from spec_tests.port import Array, Numerics, Op, Port

EPS = 1e-3


def normalised(port: Port, x: Array, eps: float = EPS, numerics: Numerics = Numerics.F64) -> Array:
    return run(port, Op.L2_NORMALIZE, numerics, {"x": x}, eps=eps)["y"]


@pytest.mark.spec("NORM-1")
def test_vectors_are_divided_by_their_regularised_length(port: Port) -> None:
    x = generator(1).standard_normal((5, 6)) * np.array([1.0, 1e-3, 1e-4, 30.0, 1e-2])[:, None]
    for numerics in precisions(port):
        for eps in (1e-6, EPS, 0.5):
            result = run(port, Op.L2_NORMALIZE, numerics, {"x": x}, eps=eps)
            given = result.inputs["x"]
            result.assert_close("y", given / np.sqrt((given**2).sum(-1, keepdims=True) + eps**2))


@pytest.mark.spec("NORM-2")
def test_zero_gives_zero_and_the_gradient_is_the_closed_form_with_bound_one_over_eps(port: Port) -> None:
    for numerics in precisions(port):
        assert not normalised(port, np.zeros((2, 4)), numerics=numerics).any()
    rng = generator(2)
    x, weight = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    x[1] = 0.0

    def loss(values: Array) -> float:
        return float((values / np.sqrt((values**2).sum(-1, keepdims=True) + EPS**2) * weight).sum())

    result = run_with_gradients(port, Op.L2_NORMALIZE, Numerics.F64, {"x": x}, {"y": weight}, eps=EPS)
    assert_close(result["grad.x"], central_difference(loss, x, step=1e-7), 1e-5, "gradient")
    assert_close(result["grad.x"][1], weight[1] / EPS, 1e-9, "gradient at zero")


@pytest.mark.spec("NORM-3")
def test_huge_and_tiny_vectors_keep_their_direction(port: Port) -> None:
    x = generator(3).standard_normal((4, 5))
    for numerics in precisions(port):
        given = run(port, Op.L2_NORMALIZE, numerics, {"x": 1e20 * x}, eps=EPS)
        assert_close(given["y"], unit(given.inputs["x"]), given.tolerance("y"), "scale 1e20")
        tiny = run(port, Op.L2_NORMALIZE, numerics, {"x": 1e-20 * x}, eps=EPS)
        assert_close(tiny["y"], tiny.inputs["x"] / EPS, tiny.tolerance("y"), "scale 1e-20")

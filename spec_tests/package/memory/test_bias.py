"""Error maps are slopes of the losses that the table of `memory.bias` names, and reduce to `l2` where they should."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.memory.bias import Bias, BiasName, curvature_factor, error_map
from spec_tests.drawing.inputs import generator
from spec_tests.package.memory.miras_calls import STEP
from spec_tests.port import Array

P, S, DELTA = 3.0, 0.05, 0.9


def huber(x: Array) -> Array:
    """Return H: x^2 / 2 up to delta, delta (|x| - delta / 2) beyond."""
    size = np.where(x.real < 0.0, -x, x)
    return np.where(size.real <= DELTA, x * x / 2.0, DELTA * (size - DELTA / 2.0))


LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "l2": lambda m, v: ((m - v) ** 2).sum(),
    "dot": lambda m, v: -2.0 * (m * v).sum(),
    "lp": lambda m, v: (((m - v) ** 2 + S**2) ** (P / 2.0) - S**P).sum(),
    "huber_coordinate": lambda m, v: 2.0 * huber(m - v).sum(),
    "huber_norm": lambda m, v: 2.0 * huber(np.sqrt(((m - v) ** 2).sum())),
    "robust": lambda m, v: ((m - v) ** 2).sum() + 2.0 * DELTA * np.sqrt(((m - v) ** 2).sum() + S**2),
}


def pairs(seed: int = 1, width: int = 4, count: int = 60) -> tuple[Array, Array]:
    rng = generator(seed)
    return rng.standard_normal((count, width)), rng.standard_normal((count, width)) * rng.uniform(0.0, 1.5, (count, 1))


def mapped(bias: Bias, prediction: Array, values: Array, delta: float = DELTA) -> Array:
    threshold = torch.full((len(values),), delta, dtype=torch.float64)
    return error_map(bias, torch.tensor(prediction), torch.tensor(values), threshold).numpy()


@pytest.mark.parametrize("loss_scale", [0.5, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_psi_is_the_slope_of_the_loss_in_the_prediction(name: BiasName, loss_scale: float) -> None:
    """Kills: |e|^p for |e|^{p-1}; a mean over the values; a threshold on coordinates where the norm is asked."""
    prediction, values = pairs()
    found = 2.0 * loss_scale * mapped(Bias(name, P, S), prediction, values)
    for m, v, psi in zip(prediction, values, found, strict=True):
        steps = m + 1j * STEP * np.eye(len(m))
        wanted = np.array([loss_scale * LOSSES[name](step, v).imag / STEP for step in steps])
        assert np.abs(psi - wanted).max() < 1e-13 * (1.0 + np.abs(wanted).max())


@pytest.mark.parametrize(
    ("bias", "delta"),
    [
        (Bias("lp", 2.0), 1.0),
        (Bias("huber_coordinate"), 1e9),
        (Bias("huber_norm"), 1e9),
        (Bias("yaad_printed"), 1e9),
        (Bias("robust"), 0.0),
    ],
    ids=lambda x: x.name if isinstance(x, Bias) else "",
)
def test_a_bias_that_does_nothing_is_l2_to_the_last_bit(bias: Bias, delta: float) -> None:
    prediction, values = pairs()
    assert np.array_equal(mapped(bias, prediction, values, delta), prediction - values)


def test_huber_by_norm_bounds_psi_and_is_continuous_where_the_printed_switch_jumps() -> None:
    direction = pairs()[0][0]
    unit = direction / np.linalg.norm(direction)
    inside, outside = (np.stack([unit * DELTA * (1.0 + sign * 1e-9)]) for sign in (-1, 1))
    zero = np.zeros_like(inside)
    near = [mapped(Bias("huber_norm"), e, zero) for e in (inside, outside)]
    assert np.abs(near[0] - near[1]).max() < 1e-8
    far = mapped(Bias("huber_norm"), *pairs())
    assert np.linalg.norm(far, axis=-1).max() <= DELTA * (1.0 + 1e-12)
    printed = mapped(Bias("yaad_printed"), outside, zero)
    assert np.array_equal(printed, DELTA * np.sign(outside))
    assert np.array_equal(mapped(Bias("yaad_printed"), inside, zero), inside)


NAMES = ("lp", "huber_coordinate", "huber_norm", "yaad_printed", "robust")


@pytest.mark.parametrize("exponent", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_zero_has_psi_zero_and_finite_slopes(name: BiasName, exponent: float) -> None:
    """Kills: a root without smoothing; a division by the length of the error, or by a threshold of zero."""
    for delta in (0.0, DELTA):
        prediction, values = (torch.ones(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
        threshold = torch.full((3,), delta, dtype=torch.float64, requires_grad=True)
        found = error_map(Bias(name, exponent), prediction, values, threshold)
        assert torch.equal(found, torch.zeros_like(found))
        slopes = torch.autograd.grad(
            found.sum(), [prediction, values, threshold], materialize_grads=True, allow_unused=True
        )
        assert all(bool(torch.isfinite(slope).all()) for slope in slopes)


def jacobian(bias: Bias, error: Tensor, threshold: Tensor) -> Tensor:
    zero = torch.zeros_like(error)
    slopes: Tensor = torch.func.jacrev(
        lambda e: error_map(bias, e.unsqueeze(0), zero.unsqueeze(0), threshold).squeeze(0)
    )(error)
    return slopes


@pytest.mark.parametrize(
    "bias",
    [Bias(), Bias("lp", 3.0, S), Bias("lp", 2.5, S), Bias("lp", 1.5, S), Bias("huber_norm"), Bias("robust", 2.0, S)],
    ids=str,
)
def test_the_curvature_factor_bounds_the_slope_of_psi_and_is_reached_where_it_can_be(bias: Bias) -> None:
    """Kills: a factor of the least coordinate; p for p / 2; a robust term without its 1; p between 2 and 3 taken for
    one below 2, whose slope is largest at zero."""
    steepest = 0.0
    for scale in (0.0, 1e-3, 0.3, 1.0):
        for error in torch.tensor(pairs(2)[0][:20] * scale):
            threshold = torch.tensor([DELTA], dtype=torch.float64)
            slope = float(torch.linalg.matrix_norm(jacobian(bias, error, threshold), 2))
            factor = float(curvature_factor(bias, error.unsqueeze(0), threshold))
            assert slope <= factor * (1.0 + 1e-12)
            steepest = max(steepest, slope / factor)
    assert steepest > 0.95


def test_dot_has_no_curvature() -> None:
    assert curvature_factor(Bias("dot"), torch.ones(1, 3), None) == 0.0

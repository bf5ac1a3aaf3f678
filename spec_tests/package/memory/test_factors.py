"""Rank-one factors of every architecture are its gradients, by automatic differentiation and by complex steps."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.memory.architecture import LN_EPS, predict_with
from atlas_ref.memory.factors import gradient_factors, layer_norm_vjp
from atlas_ref.memory.rules import ArchitectureName
from spec_tests.drawing.inputs import generator
from spec_tests.package.memory.miras_calls import STEP, rule_of, shapes
from spec_tests.package.memory.miras_loop import Options
from spec_tests.port import Array


def normed(z: Array) -> Array:
    return np.asarray((z - z.mean()) / np.sqrt(((z - z.mean()) ** 2).mean() + LN_EPS))


@pytest.mark.parametrize("spread", [1.0, 1e-3, 0.0], ids=["spread", "nearly constant", "constant"])
def test_the_vjp_of_the_norm_is_that_of_autograd_and_of_complex_steps(spread: float) -> None:
    """Kills: mean terms outside the bracket; the unbiased variance; an eps outside the root."""
    rng = generator(3)
    z, r = 0.7 + spread * rng.standard_normal(6), rng.standard_normal(6)
    found = layer_norm_vjp(torch.tensor(z), torch.tensor(r)).numpy()
    stepped = np.array([(normed(z + 1j * STEP * unit).imag / STEP) @ r for unit in np.eye(6)])
    leaf = torch.tensor(z, requires_grad=True)
    (automatic,) = torch.autograd.grad(torch.nn.functional.layer_norm(leaf, (6,), eps=LN_EPS), leaf, torch.tensor(r))
    scale = np.abs(stepped).max()
    assert np.abs(found - stepped).max() < 1e-12 * scale
    assert np.abs(found - automatic.numpy()).max() < 1e-11 * scale


@pytest.mark.parametrize("architecture", get_args(ArchitectureName))
def test_the_factors_multiply_to_the_gradient_of_the_loss(architecture: str) -> None:
    """Kills: a gate of a glu that is not differentiated; gelu for its slope; a residual that is not subtracted."""
    options = Options(architecture=architecture)
    rng = generator(2)
    weights = tuple(torch.tensor(rng.standard_normal((1, *shape)), requires_grad=True) for shape in shapes(options))
    x, v = torch.tensor(rng.standard_normal((1, 1, 4))), torch.tensor(rng.standard_normal((1, 1, 3)))
    loss = 0.5 * (predict_with(rule_of(options).architecture, weights, x) - v).square().sum()
    wanted = torch.autograd.grad(loss, weights)
    found = gradient_factors(rule_of(options), weights, x, v)
    for left, right, gradient in zip(found.left, found.right, wanted, strict=True):
        torch.testing.assert_close(left.mT @ right, gradient, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "options", [Options(bias="lp", p=3.0), Options(architecture="mlp_norm"), Options(mass=True)], ids=str
)
def test_the_error_of_the_factors_is_the_miss_whatever_the_bias(options: Options) -> None:
    """Kills: telemetry that takes psi, or an error behind a norm, for what was missed."""
    rng = generator(5)
    weights: tuple[Tensor, ...] = tuple(torch.tensor(rng.standard_normal((1, *shape))) for shape in shapes(options))
    x, v = torch.tensor(2.0 * rng.standard_normal((1, 5, 4))), torch.tensor(rng.standard_normal((1, 5, 3)))
    found = gradient_factors(rule_of(options), weights, x, v, torch.ones(1, 5, dtype=x.dtype))
    miss = predict_with(rule_of(replace(options)).architecture, weights, x) - v
    divisor = torch.ones(1, 5, dtype=x.dtype) if found.divisor is None else found.divisor
    error = divisor.unsqueeze(-1) * found.left[0] if found.error is None else found.error
    torch.testing.assert_close(error, miss, rtol=1e-12, atol=1e-13)

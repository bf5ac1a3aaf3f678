"""Triton's kernels of polynomial features, interpreted where there is no GPU, against the reference in float64."""

import pytest
import torch

from atlas_ref.blocks.kernels.choice import kernel_features
from atlas_ref.functional.polynomial import Basis, polynomial_features

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")


@pytest.mark.parametrize("basis", ["monomial_weighted", "monomial"])
def test_features_by_kernels_are_the_reference_with_the_gradients_of_x_and_of_both_coefficients(basis: Basis) -> None:
    """Kills: a square counted once, a product under another weight, rows beyond the last in a sum."""
    drawn = torch.Generator().manual_seed(2)
    x = torch.randn(3, 23, 5, generator=drawn).to(DEVICE).requires_grad_()
    coefficients = torch.tensor([0.7, 0.3], device=DEVICE, requires_grad=True)
    lift = kernel_features("triton", x, 2, basis)
    assert lift is not None
    found = lift(x, coefficients, basis)
    wanted = polynomial_features(x.double(), coefficients.double(), basis)
    weights = torch.randn(wanted.shape, generator=drawn).to(DEVICE)
    slopes = torch.autograd.grad((found * weights).sum(), (x, coefficients))
    expected = torch.autograd.grad((wanted * weights).sum(), (x, coefficients))
    for ours, theirs in zip((found, *slopes), (wanted, *expected), strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_other_degrees_and_bases_are_left_to_the_reference() -> None:
    x = torch.zeros(2, 5, device=DEVICE)
    assert kernel_features("triton", x, 3, "monomial") is None
    assert kernel_features("triton", x, 2, "kronecker") is None
    assert kernel_features("reference", x, 2, "monomial") is None

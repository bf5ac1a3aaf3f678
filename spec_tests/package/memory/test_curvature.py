"""The bound that `mass` divides by: never below the curvature of the loss behind a norm, and not far above it.

Every test names the fault that was put into the program by hand and that it caught.
"""

import pytest
import torch
from torch import Tensor

from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.factors import curvature
from atlas_ref.memory.rules import ArchitectureName

SHAPES: dict[ArchitectureName, list[tuple[int, int]]] = {
    "matrix": [(4, 3)],
    "linear_norm": [(4, 3)],
    "mlp_norm": [(4, 5), (5, 3)],
}
DRAWS = 50


def largest_curvature(architecture: ArchitectureName, weights: list[Tensor], key: Tensor, value: Tensor) -> float:
    """Return the norm of the Hessian of 1/2 ||P(k) - v||^2 in all weights together."""
    sizes = [matrix.numel() for matrix in weights]

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, sizes)
        shaped = tuple(part.view(matrix.shape) for part, matrix in zip(parts, weights, strict=True))
        return 0.5 * (predict_with(architecture, shaped, key) - value).square().sum()

    flat = torch.cat([matrix.flatten() for matrix in weights]).requires_grad_()
    (slope,) = torch.autograd.grad(loss(flat), flat, create_graph=True)
    rows = [torch.autograd.grad(entry, flat, retain_graph=True)[0] for entry in slope.unbind()]
    return float(torch.linalg.matrix_norm(torch.stack(rows), 2))


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_bound_is_above_the_curvature_of_the_loss_and_nearly_reached(architecture: ArchitectureName) -> None:
    """Weights of size 0.01 to 10, values of 0.1 to 10. Kills: a variance where its root belongs, and the reverse; the
    error term left out, or divided by d; a Gauss-Newton part without the second matrix; a bound of ten times."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int, low: float, high: float) -> Tensor:
        size = 10.0 ** (low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))
        return size * torch.randn(shape, generator=generator, dtype=torch.float64)

    shares = []
    for _ in range(DRAWS):
        weights = [draw(*shape, low=-2.0, high=1.0) for shape in SHAPES[architecture]]
        key, value = draw(1, 3, low=0.0, high=0.0), draw(1, 4, low=-1.0, high=1.0)
        bound = float(curvature(architecture, tuple(weights), key, value))
        shares.append(largest_curvature(architecture, weights, key, value) / bound)
    assert all(share <= 1.0 + 1e-12 for share in shares)
    assert max(shares) > 0.8

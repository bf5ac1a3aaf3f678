"""Muon on matrices side by side is torch's Muon, matrix by matrix."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Muon, Optimizer

from atlas_ref.training.stacked_muon import StackedMuon

SHAPES = ((48, 16), (16, 48), (48, 16), (24, 24), (48, 16))
RATE = 0.1


def weights() -> list[nn.Parameter]:
    drawn = torch.Generator().manual_seed(5)
    return [nn.Parameter(torch.randn(shape, generator=drawn)) for shape in SHAPES]


def give(matrices: list[nn.Parameter], step: int) -> None:
    """Give every matrix but one a gradient of its own scale."""
    drawn = torch.Generator().manual_seed(step)
    for number, matrix in enumerate(matrices):
        matrix.grad = None if number == 2 else torch.randn(matrix.shape, generator=drawn) * 10.0**number


def polar(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    factor: Tensor = left @ right
    return factor


def test_stacked_muon_moves_every_matrix_as_torch_does() -> None:
    alone, stacked = weights(), weights()
    one = Muon(alone, lr=RATE, weight_decay=0.3, momentum=0.9)
    other = StackedMuon(stacked, lr=RATE, weight_decay=0.3, momentum=0.9)
    pairs: tuple[tuple[list[nn.Parameter], Optimizer], ...] = (alone, one), (stacked, other)
    for step in range(4):
        for matrices, optimiser in pairs:
            give(matrices, step)
            optimiser.step()
    for mine, theirs in zip(stacked, alone, strict=True):
        # Moves are of size RATE; what products in bfloat16 round differently is a few thousandths of that.
        torch.testing.assert_close(mine, theirs, atol=0.02 * RATE, rtol=0.0)
        kept = other.state[mine].get("momentum_buffer"), one.state[theirs].get("momentum_buffer")
        assert (kept[0] is None) is (kept[1] is None)
        if kept[0] is not None:
            assert torch.equal(*kept)
    assert torch.equal(stacked[2], weights()[2])


@pytest.mark.parametrize("rows", [(48, 16), (16, 48)])
def test_stacked_muon_moves_along_the_polar_factor_of_each_gradient(rows: tuple[int, int]) -> None:
    drawn = torch.Generator().manual_seed(1)
    start = [torch.randn(rows, generator=drawn) for _ in range(3)]
    matrices = [nn.Parameter(x.clone()) for x in start]
    gradients = [torch.randn(rows, generator=drawn) * 100.0**n for n in range(3)]
    for matrix, gradient in zip(matrices, gradients, strict=True):
        matrix.grad = gradient
    StackedMuon(matrices, lr=RATE, weight_decay=0.0).step()
    size = RATE * max(1.0, rows[0] / rows[1]) ** 0.5
    for matrix, before, gradient in zip(matrices, start, gradients, strict=True):
        move, expected = (before - matrix).detach().double() / size, polar(gradient)
        along = (move * expected).sum() / expected.square().sum()
        # Five quintic steps leave singular values between 0.7 and 1.2, and turn nothing.
        assert 0.7 < along < 1.2
        assert (move - along * expected).norm() < 0.3 * expected.norm()

"""Polynomial features of the second degree by kernels (`feature_kernels`); the reference is `functional.polynomial`."""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement
from math import sqrt
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.blocks.kernels.feature_kernels import features, features_back
from atlas_ref.memory.kernels.launching import tile

ROWS: Final = 16
TILE: Final = 256
"""Vectors and features of a program."""
HELD: Final = 1024
"""Entries of x that a program of the backward pass has."""
Products = Literal["monomial_weighted", "monomial"]
"""Bases with a feature for each unordered product."""


def second_degree(
    x: Float[Tensor, "*batch dim"], coefficients: Float[Tensor, " 2"], basis: Products
) -> Float[Tensor, "*batch features"]:
    """Return the features of x, in its dtype."""
    apply: Callable[..., Tensor] = _Features.apply
    return apply(x, coefficients.float().sqrt(), basis)


@lru_cache(maxsize=16)
def products(dim: int, basis: Products, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return both entries of each feature, the first of itself for x, and its weight."""
    pairs = list(combinations_with_replacement(range(dim), 2))
    entries = [(i, i) for i in range(dim)] + pairs
    weights = [1.0] * dim + [_weight(i, j, basis) for i, j in pairs]
    index = torch.tensor(entries, dtype=torch.int32, device=device)
    return index[:, 0].contiguous(), index[:, 1].contiguous(), torch.tensor(weights, device=device)


@lru_cache(maxsize=16)
def _places(dim: int, basis: Products, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the feature of each pair of entries in any order, and its weight, twice of a square."""
    place = torch.zeros(dim, dim, dtype=torch.int32)
    weight = torch.zeros(dim, dim)
    for number, (i, j) in enumerate(combinations_with_replacement(range(dim), 2)):
        place[i, j] = place[j, i] = dim + number
        weight[i, j] = weight[j, i] = _weight(i, j, basis) * (2.0 if i == j else 1.0)
    return place.to(device), weight.to(device)


def _weight(i: int, j: int, basis: Products) -> float:
    """Return sqrt(2!/beta!) of a product, or 1."""
    return sqrt(2.0) if basis == "monomial_weighted" and i != j else 1.0


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, roots: Tensor, basis: Products) -> Tensor:
        x, roots = x.contiguous(), roots.contiguous()
        dim = x.shape[-1]
        left, right, weight = products(dim, basis, x.device)
        out = x.new_empty(*x.shape[:-1], len(left))
        count = x.numel() // dim
        grid = (-(-count // ROWS), -(-len(left) // TILE))
        features[grid](x, roots, left, right, weight, out, count, dim, len(left), ROWS, TILE)
        ctx.save_for_backward(x, roots)
        ctx.basis = basis
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, roots = ctx.saved_tensors
        dim, slope = x.shape[-1], grads[0].contiguous()
        place, weight = _places(dim, ctx.basis, x.device)
        count, rows = x.numel() // dim, max(1, HELD // tile(dim))
        programs = -(-count // rows)
        d_x, parts = torch.empty_like(x), x.new_empty(programs, 2, dtype=torch.float32)
        sizes = count, dim, slope.shape[-1], rows, tile(dim)
        features_back[(programs,)](x, roots, place, weight, slope, d_x, parts, *sizes)
        return d_x, parts.sum(0), None

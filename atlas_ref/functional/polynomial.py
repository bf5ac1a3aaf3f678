"""Polynomial features: the map f that lifts keys and queries before the memory sees them.

ATLAS (arXiv 2505.23735) section 3.1 and Eq. 5, with the coefficients where Eq. 5 needs them (decision `features`).

Notation
    d, p     width of the input and degree
    a_i      coefficient of degree i = 1..p on the *kernel*, a_i >= 0, initially 1/i!
    D        width of the result, `feature_dim`

Bases
    monomial_weighted  sqrt(a_i i!/beta!) x^beta for 1 <= |beta| = i <= p; f(q).f(k) = sum_i a_i (q.k)^i exactly
    kronecker          sqrt(a_i) x^{(x) i}, every ordered product: the same kernel in sum_i d^i features
    monomial           sqrt(a_i) x^beta without the multinomial weight: not a function of q.k
    elementwise        1 + sum_i a_i x^i entry by entry, D = d: one source system's; it maps random unit keys almost
                       onto one direction (cosine .97 at d = 32), so it is kept for comparison only

There is no constant feature (but in `elementwise`). The root has no finite gradient at a_i = 0: keep coefficients
positive, for instance as exponentials.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, factorial, prod, sqrt
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.normalize import at_least_float32, of_dtype

Basis = Literal["monomial_weighted", "monomial", "kronecker", "elementwise"]


def feature_dim(dim: int, degree: int, basis: Basis) -> int:
    """Return D: C(d+p, p) - 1 for the two monomial bases, sum_i d^i for `kronecker`, d for `elementwise`."""
    _check(degree)
    if basis == "elementwise":
        return dim
    if basis == "kronecker":
        return sum(dim**i for i in range(1, degree + 1))
    return comb(dim + degree, degree) - 1


def initial_coefficients(degree: int) -> tuple[float, ...]:
    """Return 1/1!, .., 1/p!: with them the kernel is the Taylor polynomial of exp(q.k) - 1 (ATLAS Eq. 5)."""
    return tuple(1.0 / factorial(i) for i in range(1, degree + 1))


def polynomial_features(
    x: Float[Tensor, "*batch dim"], coefficients: Float[Tensor, " degree"], basis: Basis
) -> Float[Tensor, "*batch features"]:
    """Lift the last axis to the features of `basis` (see the module), degree by degree, lowest first.

    Differentiable in x and, where they are positive, in the coefficients. Computed in at least float32, returned in
    the dtype of x. Raises UserError for a degree below 1.
    """
    wide = at_least_float32(x)
    return lifted(wide, factors(coefficients.to(wide.dtype), x.shape[-1], basis), basis).to(x.dtype)


def factors(coefficients: Float[Tensor, " degree"], dim: int, basis: Basis) -> tuple[Float[Tensor, "*_features"], ...]:
    """Return for each degree what its products of entries are multiplied by: one number, or one for each of them.

    That is the table of the module docstring, and of `elementwise` a_i. Raises UserError for a degree below 1.
    """
    _check(len(coefficients))
    if basis == "elementwise":
        return coefficients.unbind()
    first, *roots = coefficients.sqrt().unbind()
    if basis == "monomial_weighted":
        like = coefficients.dtype, coefficients.device
        roots = [root * _multinomial_roots(dim, i, *like) for i, root in enumerate(roots, start=2)]
    return first, *roots


def lifted(
    x: Float[Tensor, "*batch dim"], scales: Sequence[Float[Tensor, "*_features"]], basis: Basis
) -> Float[Tensor, "*batch features"]:
    """Return `polynomial_features` by the `factors` of each degree, in the dtype of x, which is at least float32."""
    scales = [of_dtype(scale, x.dtype) for scale in scales]
    if basis == "elementwise":
        # Horner: 1 + x (a_1 + x (a_2 + ...)).
        result = torch.zeros_like(x)
        for coefficient in reversed(scales):
            result = x * (coefficient + result)
        return result + 1.0
    power, parts = x, []
    for i, scale in enumerate(scales, start=1):
        if i > 1:
            power = _next_tensor_power(x, power) if basis == "kronecker" else _next_monomials(x, power, i)
        parts.append(power * scale)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _check(degree: int) -> None:
    if degree < 1:
        raise UserError(f"polynomial features: the degree is {degree}, but it must be at least 1")


def _next_tensor_power(x: Tensor, power: Tensor) -> Tensor:
    """Return every ordered product of one more entry of x with `power`."""
    return (x.unsqueeze(-1) * power.unsqueeze(-2)).flatten(-2)


def _next_monomials(x: Tensor, power: Tensor, degree: int) -> Tensor:
    """Return the monomials of `degree` in lexicographic order from those of the degree below.

    Those that begin with x_j are x_j times the monomials of entries j and later, a trailing slice in that order: d
    products in all, which runs several times faster forward and backward than gathering index tables.
    """
    dim = x.shape[-1]
    if x.device.type == "cuda" and not torch.is_grad_enabled():
        # There a launch for each entry costs more than the tables do.
        first, rest = _factors(dim, degree, x.device)
        return x[..., first] * power[..., rest]
    lengths = [comb(dim - j + degree - 2, degree - 1) for j in range(dim)]
    return torch.cat([x[..., j : j + 1] * power[..., power.shape[-1] - n :] for j, n in enumerate(lengths)], dim=-1)


@lru_cache(maxsize=32)
def _factors(dim: int, degree: int, device: torch.device) -> tuple[Int[Tensor, " features"], Int[Tensor, " features"]]:
    """Return of each monomial of a degree which entry of x it has first, and which monomial of the degree below."""
    lengths = [comb(dim - j + degree - 2, degree - 1) for j in range(dim)]
    first = [j for j, n in enumerate(lengths) for _ in range(n)]
    rest = [lengths[0] - n + i for n in lengths for i in range(n)]
    with torch.inference_mode(False):
        return torch.tensor(first, device=device), torch.tensor(rest, device=device)


@lru_cache(maxsize=32)
def _multinomial_roots(dim: int, degree: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " features"]:
    """Return sqrt(i!/beta!) of each monomial of degree i, in the same order, once for all calls."""
    roots = [
        sqrt(factorial(degree) / prod(factorial(beta.count(j)) for j in set(beta)))
        for beta in combinations_with_replacement(range(dim), degree)
    ]
    # A constant that training may meet too, though decoding made it.
    with torch.inference_mode(False):
        return torch.tensor(roots, dtype=dtype, device=device)

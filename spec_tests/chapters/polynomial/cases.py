"""Stored cases of polynomial features."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

COEFFICIENTS: Final = np.array([0.9, 0.7, 0.4, 0.2])
_FEAT: Final = Family("FEAT", Op.POLYNOMIAL_FEATURES)


def _basis(name: str) -> dict[str, str]:
    return {"basis": name}


def _vectors(seed: int, count: int, dim: int, degree: int) -> dict[str, Array]:
    x = normal(seed, count, dim)
    lengths = np.linspace(0.5, 1.4, count)
    return {"x": x * (lengths / np.sqrt((x**2).sum(-1)))[:, None], "coefficients": COEFFICIENTS[:degree]}


def _with_zero(inputs: dict[str, Array]) -> dict[str, Array]:
    return {**inputs, "x": inputs["x"] * (np.arange(len(inputs["x"])) > 0)[:, None]}


def _even(seed: int, count: int, features: int) -> dict[str, Array]:
    """Return a cotangent that is the same for every feature of a vector, whatever their order."""
    return {"features": np.repeat(normal(seed, count, 1), features, axis=1)}


STORED: Final = (
    _FEAT.case(
        1,
        "FEAT-1 FEAT-2 FEAT-9",
        "the weighted monomials: inner products are the kernel, coefficients act on the kernel",
        _basis("monomial_weighted"),
        _vectors(30, 5, 3, 4),
    ),
    _FEAT.case(
        2,
        "FEAT-1 FEAT-4 FEAT-9",
        "plain monomials: no multinomial weight",
        _basis("monomial"),
        _vectors(31, 5, 4, 3),
    ),
    _FEAT.case(
        3,
        "FEAT-1 FEAT-3 FEAT-9",
        "tensor powers: repeated products stay, the kernel is that of the weighted monomials",
        _basis("kronecker"),
        _vectors(32, 5, 3, 3),
    ),
    _FEAT.case(
        4,
        "FEAT-1 FEAT-5 FEAT-9",
        "the elementwise basis, the only one with a constant",
        _basis("elementwise"),
        _vectors(33, 5, 4, 3),
    ),
    _FEAT.case(
        5,
        "FEAT-2 FEAT-6",
        "a zero vector has zero features: no constant",
        _basis("monomial_weighted"),
        _with_zero(_vectors(34, 4, 4, 2)),
    ),
    _FEAT.case(6, "FEAT-1 FEAT-2", "one dimension, degree 4", _basis("monomial_weighted"), _vectors(35, 4, 1, 4)),
    _FEAT.case(7, "FEAT-1 FEAT-4", "degree 1: the vectors times a root", _basis("monomial"), _vectors(36, 4, 5, 1)),
    _FEAT.case(
        8,
        "FEAT-8",
        "gradients of the sum of all features, in which their order does not show: weighted monomials",
        _basis("monomial_weighted"),
        _vectors(37, 3, 3, 3),
        _even(40, 3, 19),
    ),
    _FEAT.case(
        9,
        "FEAT-8",
        "gradients of the sum of all features: tensor powers",
        _basis("kronecker"),
        _vectors(38, 3, 3, 2),
        _even(41, 3, 12),
    ),
    _FEAT.case(
        10,
        "FEAT-5 FEAT-8",
        "gradients of the elementwise basis",
        _basis("elementwise"),
        _vectors(39, 3, 4, 4),
        {"features": normal(42, 3, 4)},
    ),
    _FEAT.case(
        101,
        "FEAT-8",
        "gradients of the sum of all features: plain monomials",
        _basis("monomial"),
        _vectors(101, 3, 3, 3),
        _even(102, 3, 19),
    ),
    _FEAT.case(102, "FEAT-1 FEAT-2", "twenty entries, degree 2", _basis("monomial_weighted"), _vectors(103, 6, 20, 2)),
)

"""Cases of Newton-Schulz, normalisation and polynomial features."""

from typing import Final

import numpy as np

from spec_tests.inputs import generator
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

COEFFICIENTS: Final = np.array([0.9, 0.7, 0.4, 0.2])

_NS: Final = Family("NS", Op.NEWTON_SCHULZ)
_NORM: Final = Family("NORM", Op.L2_NORMALIZE)
_FEAT: Final = Family("FEAT", Op.POLYNOMIAL_FEATURES)


def normal(seed: int, *shape: int) -> Array:
    """Return standard normal numbers."""
    return generator(seed).standard_normal(shape)


def _set(name: str, steps: int) -> dict[str, str | int]:
    return {"coefficients": name, "steps": steps}


def _scaled(seed: int, scales: tuple[float, ...], *shape: int) -> Array:
    """Return one array of this shape a scale."""
    factors = np.array(scales).reshape(-1, *(1 for _ in shape))
    return np.asarray(normal(seed, len(scales), *shape) * factors)


NEWTON_SCHULZ: Final = (
    _NS.case(
        1,
        "NS-1 NS-7 NS-9",
        "wide matrices whose norms differ by 10^4: each has its own norm, and scale does not matter",
        _set("quintic", 5),
        {"matrix": _scaled(1, (1.0, 100.0, 0.01), 3, 5)},
    ),
    _NS.case(
        2,
        "NS-1 NS-3 NS-4",
        "square: a product from the other side, or X X for X X^T, has the right shape and is wrong",
        _set("quintic", 5),
        {"matrix": normal(2, 2, 4, 4)},
    ),
    _NS.case(3, "NS-1 NS-2 NS-4", "more rows than columns", _set("quintic", 5), {"matrix": normal(3, 2, 6, 3)}),
    _NS.case(4, "NS-1", "one step: the count of steps", _set("quintic", 1), {"matrix": normal(4, 2, 3, 4)}),
    _NS.case(5, "NS-1 NS-5", "the set cubic, square", _set("cubic", 7), {"matrix": normal(5, 2, 4, 4)}),
    _NS.case(
        6,
        "NS-1 NS-5",
        "the published set past its end, where its last step repeats",
        _set("polar_express", 10),
        {"matrix": normal(6, 2, 3, 5)},
    ),
    _NS.case(
        7,
        "NS-1 NS-2",
        "the first steps of the published set, tall",
        _set("polar_express", 3),
        {"matrix": normal(7, 2, 5, 3)},
    ),
    _NS.case(
        8,
        "NS-6",
        "zero gives zero, and a finite gradient",
        _set("quintic", 2),
        {"matrix": np.zeros((2, 3, 4))},
        {"orthogonal": normal(18, 2, 3, 4)},
    ),
    _NS.case(
        9,
        "NS-1 NS-7",
        "no step: only the normalisation, of norms 1e-20 (whose square single precision has not), 1e-9, 1 and 1e20",
        _set("quintic", 0),
        {"matrix": _scaled(9, (1e-20, 1e-9, 1.0, 1e20), 2, 3)},
    ),
    _NS.case(
        10,
        "NS-7",
        "norms of 1e-20 and 1e20 through two steps, apart from each other",
        _set("cubic", 2),
        {"matrix": _scaled(10, (1e-20, 1e20), 3, 3)},
    ),
    _NS.case(
        11,
        "NS-8",
        "the gradient through three steps and the norm, wide",
        _set("quintic", 3),
        {"matrix": normal(11, 2, 3, 4)},
        {"orthogonal": normal(12, 2, 3, 4)},
    ),
    _NS.case(
        12,
        "NS-2 NS-8",
        "the gradient through the published set, tall",
        _set("polar_express", 3),
        {"matrix": normal(13, 2, 4, 3)},
        {"orthogonal": normal(14, 2, 4, 3)},
    ),
    _NS.case(13, "NS-1", "a single row and a batch of one", _set("quintic", 3), {"matrix": normal(15, 1, 1, 4)}),
)

NORMALISATION: Final = (
    _NORM.case(
        1,
        "NORM-1",
        "eps of the order of the vectors, so that eps and eps^2 differ",
        {"eps": 0.25},
        {"x": 0.25 * normal(20, 4, 6)},
    ),
    _NORM.case(
        2,
        "NORM-2",
        "a zero vector among others, with gradients: at zero 1/eps times the cotangent",
        {"eps": 0.01},
        {"x": normal(21, 3, 5) * np.array([1.0, 0.0, 0.02])[:, None]},
        {"y": normal(22, 3, 5)},
    ),
    _NORM.case(
        3,
        "NORM-3",
        "entries of 1e20, whose squares single precision has not, and of 1e-20, whose squares underflow",
        {"eps": 1e-6},
        {"x": _scaled(23, (1e20,), 6)},
    ),
    _NORM.case(
        4,
        "NORM-3",
        "entries of 1e-20: the direction is kept, the length is x/eps",
        {"eps": 1e-6},
        {"x": _scaled(24, (1e-20,), 6)},
        beside=True,
    ),
    _NORM.case(5, "NORM-1", "vectors of one entry", {"eps": 0.25}, {"x": normal(25, 5, 1)}),
)


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


FEATURES: Final = (
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
)

MATRICES: Final = (*NEWTON_SCHULZ, *NORMALISATION, *FEATURES)

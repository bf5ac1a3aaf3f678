"""Newton-Schulz a second time: docs/spec/newton_schulz.md in numpy, one matrix at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array, Op

# The table of arXiv 2505.16932; all but the last are used with x divided by 1.01.
PUBLISHED: Final = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)


def coefficients_of(name: str, step: int) -> tuple[float, float, float]:
    """Return a, b, c of one step; past the end of a set its last step repeats."""
    if name == "quintic":
        return 3.4445, -4.7750, 2.0315
    if name == "cubic":
        return 1.5, -0.5, 0.0
    if step >= len(PUBLISHED) - 1:
        return PUBLISHED[-1]
    a, b, c = PUBLISHED[step]
    return a / 1.01, b / 1.01**3, c / 1.01**5


def scalar_iteration(sigma: Array, name: str, steps: int) -> Array:
    """Return what becomes of normalised singular values."""
    for step in range(steps):
        a, b, c = coefficients_of(name, step)
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    return sigma


def polynomials(x: Array, name: str, steps: int, sums: Sums = ANY_ORDER) -> Array:
    """Return the iteration of a matrix that is already normalised; the smaller side carries the Gram matrix."""
    if x.shape[0] > x.shape[1]:
        return polynomials(x.T, name, steps, sums).T
    for step in range(steps):
        a, b, c = coefficients_of(name, step)
        gram = sums.matmul(x, x.T)
        x = a * x + sums.matmul(b * gram + c * sums.matmul(gram, gram), x)
    return x


def iteration(
    matrix: Array, name: str, steps: int, offset: float = 1e-7, sums: Sums = ANY_ORDER, start: str = "add"
) -> Array:
    """Return Newton-Schulz of one matrix, started at G / (||G||_F + offset) or, with `clamp`, at the larger of both."""
    norm = sums.norm(matrix) * (1.01 if name == "polar_express_paper" else 1.0)
    if start == "add":
        return polynomials(matrix / (norm + offset), name, steps, sums)
    return polynomials(matrix / (norm if norm.real > offset else offset + 0.0 * norm), name, steps, sums)


def newton_schulz(matrices: Array, name: str, steps: int, sums: Sums, start: str = "add") -> Array:
    """Return Newton-Schulz of each matrix of a batch, which may have none."""
    found = [iteration(matrix, name, steps, sums=sums, start=start) for matrix in matrices]
    return np.stack(found) if found else np.zeros_like(matrices)


def _newton_schulz(config: Config, x: Arrays, sums: Sums) -> Arrays:
    name, steps, start = str(config["coefficients"]), int(config["steps"]), str(config["start"])
    return {"orthogonal": newton_schulz(x["matrix"], name, steps, sums, start)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.NEWTON_SCHULZ: _newton_schulz}

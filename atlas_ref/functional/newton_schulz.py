"""Newton-Schulz iteration: push the singular values of a matrix towards one without an SVD.

Used on the momentum before it is written to the memory (ATLAS, arXiv 2505.23735, Eq. 32-33) and by the outer optimiser
Muon.

Notation
    G           the input, rows x columns; X its transpose when rows > columns, so that X X^T is the smaller Gram matrix
    A = X X^T   the Gram matrix
    a, b, c     the coefficients of one step, X <- a X + (b A + c A^2) X

Deliberate choices: the polynomial multiplies X from the left, (X X^T) X; the other side, X (X X^T), is a defect seen in
practice that only shows on non-symmetric input. The quintic coefficients do not converge to one: every singular value
ends in [0.6818, 1.1344]. `cubic` converges to one, and so does `polar_express` (arXiv 2505.16932), much faster.
`polar_express_paper` is the algorithm of that paper as printed, which starts with a cushion too.
"""

import math
from typing import Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.normalize import at_least_float32

CoefficientSet = Literal["quintic", "cubic", "polar_express", "polar_express_paper"]
Start = Literal["add", "clamp"]
"""What the norm is kept from zero by: a number added to it, or the larger of the two."""
Step = tuple[float, float, float]

NORM_EPS: Final = 1e-7
"""Added to the Frobenius norm: an input of norm 1e-20 starts the iteration at norm 1e-13, and zero stays zero."""

_SAFETY: Final = 1.01
_POLAR_EXPRESS: Final[tuple[Step, ...]] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)
# The safety factor keeps rounded singular values inside the interval each polynomial was fitted to, up to the last.
_CUSHIONED: Final[tuple[Step, ...]] = (
    *((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _POLAR_EXPRESS[:-1]),
    _POLAR_EXPRESS[-1],
)
_STEPS: Final[dict[CoefficientSet, tuple[Step, ...]]] = {
    "quintic": ((3.4445, -4.7750, 2.0315),),
    "cubic": ((1.5, -0.5, 0.0),),
    "polar_express": _CUSHIONED,
    "polar_express_paper": _CUSHIONED,
}
_FACTOR_OF_THE_NORM: Final[dict[CoefficientSet, float]] = {"polar_express_paper": _SAFETY}


def step_coefficients(coefficients: CoefficientSet, steps: int) -> tuple[Step, ...]:
    """Return the (a, b, c) of each of `steps` steps; beyond the end of a set its last step repeats.

    Raises UserError for a negative number of steps.
    """
    if steps < 0:
        raise UserError(f"newton_schulz: steps is {steps}, but it must be zero or more")
    table = _STEPS[coefficients]
    return tuple(table[min(i, len(table) - 1)] for i in range(steps))


def slope_at_zero(coefficients: CoefficientSet, steps: int) -> float:
    """Return how much `steps` steps enlarge a vanishing singular value: the product of their a (derived)."""
    return math.prod((a for a, _, _ in step_coefficients(coefficients, steps)), start=1.0)


def frobenius_normalize(
    matrix: Float[Tensor, "*batch rows columns"], offset: float, start: Start = "add", factor: float = 1.0
) -> Float[Tensor, "*batch rows columns"]:
    """Return G / (factor ||G||_F + offset), matrix by matrix, without squaring entries above one.

    1e20 is a valid float32, and its square is not. With `clamp` it is G / max(factor ||G||_F, offset).
    """
    # The factor cancels, so it is a constant for the gradient.
    scale = matrix.detach().abs().amax(dim=(-2, -1), keepdim=True).clamp_min(1.0)
    scaled = matrix / scale
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=(-2, -1), keepdim=True)
    least = offset / scale
    return scaled / (factor * norm + least if start == "add" else torch.maximum(factor * norm, least))


def newton_schulz(
    matrix: Float[Tensor, "*batch rows columns"],
    steps: int,
    coefficients: CoefficientSet,
    offset: float = NORM_EPS,
    start: Start = "add",
) -> Float[Tensor, "*batch rows columns"]:
    """Orthogonalise each matrix approximately: X_0 = G/(||G||_F + 1e-7); `steps` times X <- a X + (b A + c A^2) X, A =
    X X^T.

    `offset` stands for the 1e-7. With `slope_at_zero` the iteration neither enlarges a singular value nor has a slope
    above one: small matrices pass unchanged, and singular values beyond about one are brought near one (derived).
    With `start` = "clamp" it is X_0 = G/max(||G||_F, 1e-7), and `polar_express_paper` starts with 1.01 ||G||_F.
    ATLAS (arXiv 2505.23735) Eq. 33 leaves the coefficients open; the sets are named in `CoefficientSet`. Tall matrices
    are transposed before and after. Zero gives zero, with a finite gradient. Computed in at least float32, returned in
    the dtype of `matrix`. Raises UserError for a negative number of steps.
    """
    schedule = step_coefficients(coefficients, steps)
    rows, columns = matrix.shape[-2:]
    factor = _FACTOR_OF_THE_NORM.get(coefficients, 1.0)
    x = frobenius_normalize(at_least_float32(matrix), offset, start, factor).reshape(-1, rows, columns)
    if rows > columns:
        x = x.mT
    for a, b, c in schedule:
        gram = torch.bmm(x, x.mT)
        # A vanishing c saves the third product of the cubic set.
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) if c != 0.0 else b * gram
        x = torch.baddbmm(x, polynomial, x, beta=a)
    if rows > columns:
        x = x.mT
    return x.reshape(matrix.shape).to(matrix.dtype)

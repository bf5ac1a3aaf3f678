"""Level 0: polynomial features."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, parameter
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.POLYNOMIAL_FEATURES,
        level=0,
        config={"basis": ("monomial_weighted", "monomial", "kronecker", "elementwise")},
        inputs=(activation("x", "batch dim"), parameter("coefficients", "degree")),
        outputs=(activation("features", "batch features"),),
    ),
)

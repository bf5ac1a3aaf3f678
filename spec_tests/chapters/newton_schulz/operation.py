"""Level 0: Newton-Schulz."""

from typing import Final

from spec_tests.contract.schema import Operation, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.NEWTON_SCHULZ,
        level=0,
        config={"steps": int, "coefficients": ("quintic", "cubic", "polar_express")},
        inputs=(state("matrix", "batch rows columns"),),
        outputs=(state("orthogonal", "batch rows columns"),),
    ),
)

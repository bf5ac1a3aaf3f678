"""Level 0: normalisation."""

from typing import Final

from spec_tests.contract.schema import Operation, activation
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.L2_NORMALIZE,
        level=0,
        config={"eps": float},
        inputs=(activation("x", "batch dim"),),
        outputs=(activation("y", "batch dim"),),
    ),
)

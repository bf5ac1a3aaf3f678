"""Level 0: StableMax."""

from typing import Final

from spec_tests.contract.schema import Operation, activation
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.STABLEMAX,
        level=0,
        config={},
        inputs=(activation("x", "batch dim"),),
        outputs=(activation("probabilities", "batch dim"),),
    ),
)

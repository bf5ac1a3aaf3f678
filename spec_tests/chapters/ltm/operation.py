"""Level 0: the running mean."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, state
from spec_tests.port import Op

_POSITION: Final = index("position", "batch time")

ROWS: Final = (
    Operation(
        Op.LTM_SCAN,
        level=0,
        config={"decay": float},
        inputs=(activation("x", "batch time dim"), state("carry", "batch dim"), _POSITION),
        outputs=(state("carry", "batch dim"), activation("y", "batch time dim")),
    ),
)

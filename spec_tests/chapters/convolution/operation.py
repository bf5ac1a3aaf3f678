"""Level 0: the short convolution."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

_POSITION: Final = index("position", "batch time")

ROWS: Final = (
    Operation(
        Op.SHORT_CONV,
        level=0,
        config={},
        inputs=(
            activation("x", "batch time channels"),
            parameter("weight", "channels kernel"),
            state("tail", "batch kernel-1 channels"),
            _POSITION,
        ),
        outputs=(state("tail", "batch kernel-1 channels"), activation("y", "batch time channels")),
    ),
)

"""Level 0: the Q-K projection and its gate."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

_POSITION: Final = index("position", "batch time")
_SEQUENCE: Final = "batch time heads dim"

ROWS: Final = (
    Operation(
        Op.QK_PROJECTION,
        level=0,
        config={},
        inputs=(
            activation("queries", _SEQUENCE),
            activation("keys", _SEQUENCE),
            state("carry", "batch heads dim dim"),
            _POSITION,
        ),
        outputs=(
            state("carry", "batch heads dim dim"),
            state("frobenius", "batch time heads"),
            activation("projected", _SEQUENCE),
        ),
    ),
    Operation(
        Op.QK_GATE,
        level=0,
        config={},
        inputs=(
            activation("projected", _SEQUENCE),
            state("frobenius", "batch time heads"),
            parameter("log_gain", "heads dim"),
            parameter("scale", "heads dim"),
        ),
        outputs=(activation("gated", _SEQUENCE),),
    ),
)

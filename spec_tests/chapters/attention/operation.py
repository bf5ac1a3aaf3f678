"""Level 0: attention over a sliding window."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

_POSITION: Final = index("position", "batch time")
_SEQUENCE: Final = "batch time heads dim"

ROWS: Final = (
    Operation(
        Op.SLIDING_WINDOW_ATTENTION,
        level=0,
        config={"window": int},
        inputs=(
            activation("queries", _SEQUENCE),
            activation("keys", _SEQUENCE),
            activation("values", _SEQUENCE),
            parameter("persistent_keys", "tokens heads dim"),
            parameter("persistent_values", "tokens heads dim"),
            state("cache_keys", "batch window-1 heads dim"),
            state("cache_values", "batch window-1 heads dim"),
            _POSITION,
        ),
        outputs=(
            state("cache_keys", "batch window-1 heads dim"),
            state("cache_values", "batch window-1 heads dim"),
            activation("output", _SEQUENCE),
        ),
    ),
)

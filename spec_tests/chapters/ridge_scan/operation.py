"""Level 2: ridge regression over a sequence."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

STATE: Final = (
    state("cross", "batch heads values features"),
    state("gram", "batch heads features features"),
    index("position", "batch"),
)
_CROSS, _GRAM, _POSITION = STATE

ROWS: Final = (
    Operation(
        Op.RIDGE_SCAN,
        level=2,
        config={},
        inputs=(
            activation("keys", "batch time heads features"),
            activation("values", "batch time heads values"),
            activation("queries", "batch time heads features"),
            state("retention", "batch time heads"),
            state("step_size", "batch time heads"),
            index("reset", "batch time"),
            parameter("ridge", "heads features"),
            *STATE,
        ),
        outputs=(_POSITION, _GRAM, _CROSS, activation("reads", "batch time heads values")),
    ),
)

"""Level 0: the floor under a gate, over a run and by what a token is read for."""

from typing import Final

from spec_tests.contract.schema import Operation, index, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.GATE_FLOOR,
        level=0,
        config={"step": int, "last": float},
        inputs=(
            state("raw", "batch time dim"),
            state("own", "batch time"),
            index("until", "borders"),
            state("before", "borders"),
        ),
        outputs=(state("floor", "batch time"), state("gate", "batch time dim"), state("risk", "batch")),
    ),
)

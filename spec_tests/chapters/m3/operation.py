"""Level 0: M3 mixing."""

from typing import Final

from spec_tests.contract.schema import Operation, index, parameter, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.M3_MIX,
        level=0,
        config={"warmup_crossings": int},
        inputs=(
            state("previous", "batch rows columns"),
            parameter("initial", "rows columns"),
            index("crossings", "batch"),
            parameter("alpha_logit", ""),
        ),
        outputs=(state("mixing", "batch"), state("mixed", "batch rows columns")),
    ),
)

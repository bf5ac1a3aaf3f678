"""Level 0: halting."""

from typing import Final

from spec_tests.contract.schema import Operation, index, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.ACT_HALT,
        level=0,
        config={"threshold": float},
        inputs=(state("probabilities", "batch steps"),),
        outputs=(index("halted", "batch"), state("weights", "batch steps"), state("ponder", "batch")),
    ),
)

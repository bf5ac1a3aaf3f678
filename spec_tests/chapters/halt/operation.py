"""Level 0: what teaches a recursion when to stop."""

from typing import Final

from spec_tests.contract.schema import Operation, index, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.HALT_LOSS,
        level=0,
        config={"threshold": float},
        inputs=(state("logits", "batch steps"), index("correct", "batch steps"), index("least", "batch")),
        outputs=(index("halted", "batch"), state("losses", "batch")),
    ),
)

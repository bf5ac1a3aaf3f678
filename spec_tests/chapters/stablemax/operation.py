"""Level 0: StableMax and the loss on top of it."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.STABLEMAX,
        level=0,
        config={},
        inputs=(activation("x", "batch dim"),),
        outputs=(activation("probabilities", "batch dim"),),
    ),
    Operation(
        Op.STABLEMAX_LOSS,
        level=0,
        config={},
        inputs=(activation("logits", "batch time vocabulary"), index("labels", "batch time")),
        outputs=(state("log_probabilities", "batch time vocabulary"), state("losses", "batch")),
    ),
)

"""Level 4: a scan with a checkpoint in it."""

from typing import Final

from spec_tests.chapters.memory_scan import operation as memory_scan
from spec_tests.chapters.memory_step.operation import RULE
from spec_tests.contract.schema import Operation
from spec_tests.port import Op

(_SCAN,) = memory_scan.ROWS

ROWS: Final = (
    # A scan that is interrupted after `split` tokens: the state goes to the port's own kind of file and comes back.
    Operation(
        Op.CHECKPOINT_ROUND_TRIP,
        level=4,
        config={**RULE, "split": int},
        inputs=_SCAN.inputs,
        outputs=_SCAN.outputs,
    ),
)

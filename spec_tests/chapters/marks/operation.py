"""Level 4: the MAG block whose context and memory begin apart.

It is the block of the configuration MODEL (`spec_tests/chapters/blocks/operation.py`) but for the keys here, and for
its span, which the caches say.
"""

from typing import Final

from spec_tests.chapters.blocks.operation import BLOCK_CONFIG, BLOCK_PARAMETERS, BLOCK_STATE
from spec_tests.contract.schema import Operation, activation, index
from spec_tests.port import Op

_CONTEXT: Final = index("context", "batch")

ROWS: Final = (
    Operation(
        Op.MAG_BLOCK_MARKS,
        level=4,
        config={"chunk": BLOCK_CONFIG["chunk"], "projection": BLOCK_CONFIG["projection"]},
        inputs=(
            activation("x", "batch time model"),
            index("reset_context", "batch time"),
            index("reset_memory", "batch time"),
            *BLOCK_PARAMETERS,
            *BLOCK_STATE,
            _CONTEXT,
        ),
        outputs=(_CONTEXT, *BLOCK_STATE, activation("y", "batch time model")),
    ),
)

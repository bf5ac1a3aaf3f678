"""Level 4: the MAL block, of the parts of the MAG block in the configuration MODEL but for the keys here.

The span is that of the caches. MODEL stands in `spec_tests/chapters/blocks/operation.py`.
"""

from typing import Final

from spec_tests.chapters.blocks.operation import BLOCK_CONFIG, BLOCK_PARAMETERS, BLOCK_STATE
from spec_tests.contract.schema import Operation, activation, index, parameter
from spec_tests.port import Op

JOINED: Final = ("attention_norm", "gate_weight", "gate_bias")
"""Parameters of the MAG block that this one has not."""
ROWS: Final = (
    Operation(
        Op.MAL_BLOCK,
        level=4,
        config={
            "chunk": BLOCK_CONFIG["chunk"],
            "inner_residual": bool,
            "inner_grad": BLOCK_CONFIG["inner_grad"],
            "persistent_in_memory": bool,
        },
        inputs=(
            activation("x", "batch time model"),
            index("reset", "batch time"),
            *(tensor for tensor in BLOCK_PARAMETERS if tensor.name not in JOINED),
            parameter("memory_output", "model reads"),
            parameter("inner_norm", "model"),
            *BLOCK_STATE,
        ),
        outputs=(*BLOCK_STATE, activation("y", "batch time model")),
        usual={"persistent_in_memory": False},
    ),
)

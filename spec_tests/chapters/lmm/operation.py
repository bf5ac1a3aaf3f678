"""Level 4: the LMM block, of the memory of the MAG block in the configuration MODEL but for the keys here.

MODEL stands in `spec_tests/chapters/blocks/operation.py`.
"""

from typing import Final

from spec_tests.chapters.blocks.operation import BLOCK_CONFIG, BLOCK_PARAMETERS, BLOCK_STATE
from spec_tests.contract.schema import Operation, activation, index
from spec_tests.port import Op

ATTENDED: Final = ("attention_projection", "persistent", "attention_norm", "gate_bias", "cache_keys", "cache_values")
"""Parameters and state of the MAG block that this one has not."""
_STATE: Final = tuple(tensor for tensor in BLOCK_STATE if tensor.name not in ATTENDED)
ROWS: Final = (
    Operation(
        Op.LMM_BLOCK,
        level=4,
        config={"chunk": BLOCK_CONFIG["chunk"], "floor": float, "inner_grad": BLOCK_CONFIG["inner_grad"]},
        inputs=(
            activation("x", "batch time model"),
            index("reset", "batch time"),
            *(tensor for tensor in BLOCK_PARAMETERS if tensor.name not in ATTENDED),
            *_STATE,
        ),
        outputs=(*_STATE, activation("y", "batch time model")),
    ),
)

"""Level 4: the MAC block.

It is made of the parts of the MAG block in the configuration MODEL (`spec_tests/chapters/blocks/operation.py`) but for
the keys here. `span` is the length C of a segment, which the caches say; `learned` the number of learned queries, and
`asked` the 2 C - 1 queries that `previous_segment` keeps.
"""

from typing import Final

from spec_tests.chapters.blocks.operation import BLOCK_CONFIG, BLOCK_PARAMETERS, BLOCK_STATE
from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

ROW_PARAMETERS: Final = (
    parameter("row_projection", "asking model"),
    parameter("row_convolution", "asking kernel"),
    parameter("row_queries", "learned heads key"),
    parameter("row_output", "model reads"),
    parameter("row_norm", "model"),
    parameter("memory_input", "model reads"),
    parameter("memory_input_norm", "model"),
)
SEGMENT_STATE: Final = (
    state("segment_weights", "batch heads parameters"),
    state("row_keys", "batch span-1 heads dim"),
    state("row_values", "batch span-1 heads dim"),
    state("row_tail", "batch kernel-1 asking"),
    state("row_asked", "batch asked heads key"),
)
ROWS: Final = (
    Operation(
        Op.MAC_BLOCK,
        level=4,
        config={
            "chunk": BLOCK_CONFIG["chunk"],
            "rows": ("causal", "previous_segment", "learned"),
            "write_from": ("attention", "input"),
            "gate": ("source", "convex", "gated_attention", "product"),
            "inner_grad": BLOCK_CONFIG["inner_grad"],
        },
        inputs=(
            activation("x", "batch time model"),
            index("reset", "batch time"),
            *BLOCK_PARAMETERS,
            *ROW_PARAMETERS,
            *BLOCK_STATE,
            *SEGMENT_STATE,
        ),
        outputs=(*SEGMENT_STATE, *BLOCK_STATE, activation("y", "batch time model")),
    ),
)

"""Level 0: the gate that joins attention and memory."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.MAG_GATE,
        level=0,
        config={"kind": ("source", "convex", "convex_memory", "gated_attention", "product"), "floor": float},
        inputs=(
            activation("attention", "batch time dim"),
            activation("memory", "batch time dim"),
            activation("logits", "batch time dim"),
        ),
        outputs=(state("gate", "batch time dim"), activation("joined", "batch time dim")),
    ),
)

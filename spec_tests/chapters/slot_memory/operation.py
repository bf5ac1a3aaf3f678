"""Level 2: the memory of slots."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, state
from spec_tests.port import Op

_SLOTS: Final = (state("slots", "batch slots dim"), index("read_at", "batch slots"))

ROWS: Final = (
    Operation(
        Op.SLOT_MEMORY,
        level=2,
        config={"threshold": float},
        inputs=(activation("x", "batch time dim"), *_SLOTS, index("position", "batch time")),
        outputs=(state("novelty", "batch time"), *reversed(_SLOTS), activation("y", "batch time dim")),
    ),
)

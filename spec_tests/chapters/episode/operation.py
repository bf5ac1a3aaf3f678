"""Level 0: the rows of an episode, and its loss."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, state
from spec_tests.port import Op

_PHASES: Final = "batch 2 pieces length"

ROWS: Final = (
    Operation(
        Op.EPISODE_ROWS,
        level=0,
        config={"mask": int},
        inputs=(
            index("pieces", "batch pieces length"),
            index("answers", "batch pieces length"),
            index("lengths", "batch pieces"),
        ),
        outputs=(
            index("context", _PHASES),
            index("memory", _PHASES),
            index("tokens", _PHASES),
            index("answer", _PHASES),
            index("targets", _PHASES),
        ),
    ),
    Operation(
        Op.EPISODE_LOSS,
        level=0,
        config={"storage": float, "retrieval": float},
        inputs=(
            activation("logits", "examples time vocabulary"),
            index("targets", "examples time"),
            index("retrieved", "examples time"),
        ),
        outputs=(state("weights", "examples time"), state("losses", "examples")),
    ),
)

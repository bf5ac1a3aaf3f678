"""Level 0: the null of a concentration, and the phases of a run."""

from typing import Final

from spec_tests.contract.schema import Operation, index, parameter, state
from spec_tests.port import Op

MEASURED: Final = ("training", "validation", "concentration", "null", "norm")

ROWS: Final = (
    Operation(
        Op.CONCENTRATION_NULL,
        level=0,
        config={"top": int},
        inputs=(parameter("embedding", "numbers dim"), index("permutations", "permutations numbers")),
        outputs=(state("null", "permutations"),),
    ),
    Operation(
        Op.GROKKING_PHASES,
        level=0,
        config={"judge": ("null", "source")},
        inputs=(index("step", "measurements"), *(state(name, "measurements") for name in MEASURED)),
        outputs=(index("phase", "measurements"),),
    ),
)

"""Level 0: the two metrics of circularity."""

from typing import Final

from spec_tests.contract.schema import Operation, index, parameter, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.FOURIER_CONCENTRATION,
        level=0,
        config={"top": int},
        inputs=(parameter("embedding", "numbers dim"),),
        outputs=(state("concentration", ""),),
    ),
    Operation(
        Op.CIRCULAR_FIT,
        level=0,
        config={},
        inputs=(parameter("embedding", "numbers dim"), index("permutations", "permutations numbers")),
        outputs=(state("fit", ""), state("order", ""), state("null", "permutations")),
    ),
)

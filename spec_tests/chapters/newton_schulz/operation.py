"""Level 0: Newton-Schulz."""

from typing import Final

from spec_tests.contract.schema import Operation, state
from spec_tests.port import Op

SETS: Final = ("quintic", "cubic", "polar_express", "polar_express_paper")
STARTS: Final = ("add", "clamp")

ROWS: Final = (
    Operation(
        Op.NEWTON_SCHULZ,
        level=0,
        config={"steps": int, "coefficients": SETS, "start": STARTS},
        usual={"start": "add"},
        inputs=(state("matrix", "batch rows columns"),),
        outputs=(state("orthogonal", "batch rows columns"),),
    ),
)

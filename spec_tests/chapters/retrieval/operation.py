"""Level 0: what storage adds to what is retrieved, with its interval."""

from typing import Final

from spec_tests.contract.schema import Operation, index, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.RETRIEVAL_GAIN,
        level=0,
        config={},
        inputs=(state("right", "rows answers"), state("without", "rows answers"), index("asked", "rows answers")),
        outputs=(state("stored", "3"), state("skipped", "3"), state("gain", "3")),
    ),
)

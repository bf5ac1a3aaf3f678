"""Level 2: what is told of a memory and its gate after a call."""

from typing import Final

from spec_tests.contract.schema import Operation, index, state
from spec_tests.port import Op

OUTPUTS: Final = (
    "memory_norm",
    "momentum_norm",
    "read_norm",
    "gate_mean",
    "gate_deviation",
    "gate_least",
    "gate_largest",
    "raw_mean",
    "raw_deviation",
    "raw_least",
    "raw_largest",
    "polarised",
    "undecided",
    "argument",
    "linear",
    "saturated",
    "update",
)
ROWS: Final = (
    Operation(
        Op.MEMORY_TELEMETRY,
        level=2,
        config={"shard": int},
        inputs=(
            state("before", "batch heads values features"),
            state("after", "batch heads values features"),
            state("momentum", "batch heads values features"),
            state("initial", "heads values features"),
            index("lengths", "batch"),
            state("reads", "batch time read"),
            state("raw", "batch time dim"),
            state("floor", "batch time"),
            state("bounded", "batch time features"),
        ),
        outputs=tuple(state(name, "") for name in OUTPUTS),
    ),
)

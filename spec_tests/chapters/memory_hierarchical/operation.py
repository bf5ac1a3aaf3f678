"""Level 2: a global memory and local ones that begin anew with every shard of a document."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.memory_step.operation import RULE
from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op, Scalar

# Memory 0 is the global one, whose shard is 0; `locals` are the others. The pairs of the window and the position are
# those of the document, which all memories share: what a memory sees of the window follows from its shard.
KEYS: Final[Mapping[str, type[Scalar] | tuple[str, ...]]] = {
    **{key: values for key, values in RULE.items() if key not in ("chunk", "read")},
    "projection_span": ("shard", "chunk", "document", "none"),
}
STATE: Final = (
    state("weights", "batch memories heads parameters"),
    state("momentum", "batch memories heads parameters"),
    state("anchor", "batch memories heads parameters"),
    state("carry", "batch locals heads features features"),
    state("window_keys", "batch window-1 heads features"),
    state("window_values", "batch window-1 heads values"),
    index("position", "batch"),
)
_WEIGHTS, _MOMENTUM, _ANCHOR, _CARRY, _WINDOW_KEYS, _WINDOW_VALUES, _POSITION = STATE

ROWS: Final = (
    Operation(
        Op.MEMORY_HIERARCHICAL,
        level=2,
        config=KEYS,
        inputs=(
            activation("keys", "batch time heads features"),
            activation("values", "batch time heads values"),
            activation("queries", "batch time heads features"),
            state("retention", "batch time memories heads"),
            state("momentum_decay", "batch time memories heads"),
            state("step_size", "batch time memories heads"),
            state("window_weights", "batch time memories heads window"),
            index("reset", "batch time"),
            index("chunks", "memories"),
            index("shards", "memories"),
            parameter("initial", "memories heads parameters"),
            *STATE,
        ),
        outputs=(
            _POSITION,
            _WINDOW_KEYS,
            _WINDOW_VALUES,
            _ANCHOR,
            _MOMENTUM,
            _WEIGHTS,
            _CARRY,
            activation("reads", "batch time heads values"),
        ),
    ),
)

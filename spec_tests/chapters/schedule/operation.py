"""Level 2: a memory that is written every N tokens, in shards, with the projection of its queries.

It has the rule FIXED, so that what is asked is the schedule. Axes: `reach` = window + every - 1, the pairs that a write
looks at; `every` is the key of that name.
"""

from collections.abc import Mapping
from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op, Scalar

FIXED: Final[Mapping[str, Scalar]] = {
    "architecture": "matrix",
    "rule": "titans",
    "boundary": "carry",
    "read": "post",
    "loss_scale": 0.5,
    "step_scale": "mass",
    "momentum_max": 0.9,
    "coefficients": "quintic",
    "newton_schulz_steps": 5,
}
"""The rest of the configuration of chapter RULE."""

STATE: Final = (
    state("weights", "batch heads parameters"),
    state("momentum", "batch heads parameters"),
    state("anchor", "batch heads parameters"),
    state("window_keys", "batch reach-1 heads features"),
    state("window_values", "batch reach-1 heads values"),
    state("waiting", "batch every-1 heads window"),
    state("carry", "batch heads features features"),
    index("position", "batch"),
)

ROWS: Final = (
    Operation(
        Op.MEMORY_SCHEDULE,
        level=2,
        config={
            "chunk": int,
            "step_chunk": int,
            "every": int,
            "shard": int,
            "warmup_crossings": int,
            "projection_span": ("shard", "chunk", "document"),
            "writes": bool,
        },
        inputs=(
            activation("keys", "batch time heads features"),
            activation("values", "batch time heads values"),
            activation("queries", "batch time heads features"),
            state("retention", "batch time heads"),
            state("momentum_decay", "batch time heads"),
            state("step_size", "batch time heads"),
            state("window_weights", "batch time heads window"),
            index("reset", "batch time"),
            parameter("initial", "heads parameters"),
            parameter("alpha_logit", ""),
            *STATE,
        ),
        outputs=(*STATE[::-1], activation("reads", "batch time heads values")),
    ),
)

"""Level 6: one step of MuGrokfast on the packed projection of attention and on a vector.

Axes: `attention` = 3 heads dim (queries, keys, values), `tensors` = 2 (the projection, the vector).
"""

from typing import Final

from spec_tests.contract.schema import Operation, index, parameter, state
from spec_tests.port import Op

MATRIX: Final = "attention model"

RATES: Final = {
    "learning_rate": float,
    "muon_learning_rate": float,
    "beta1": float,
    "beta2": float,
    "eps": float,
    "weight_decay": float,
    "momentum": float,
    "alpha": float,
    "strength": float,
    "clip": float,
    "qk_clip": float,
}

ROWS: Final = (
    Operation(
        Op.MUGROKFAST_STEP,
        level=6,
        config={**RATES, "factor": float, "perp_grad": bool, "average": float},
        inputs=(
            parameter("projection", MATRIX),
            parameter("vector", "model"),
            state("projection_gradient", MATRIX),
            state("vector_gradient", "model"),
            state("projection_slow", MATRIX),
            state("vector_slow", "model"),
            state("buffer", MATRIX),
            state("mean", "model"),
            state("square", "model"),
            state("projection_average", MATRIX),
            state("vector_average", "model"),
            index("updates", "tensors"),
            state("maximum", "heads"),
        ),
        outputs=(
            state("projection_slow", MATRIX),
            state("vector_slow", "model"),
            state("buffer", MATRIX),
            state("mean", "model"),
            state("square", "model"),
            index("updates", "tensors"),
            parameter("projection", MATRIX),
            parameter("vector", "model"),
            state("projection_average", MATRIX),
            state("vector_average", "model"),
        ),
    ),
)

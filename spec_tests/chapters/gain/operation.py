"""Level 6: AdamW on a learned gain."""

from typing import Final

from spec_tests.contract.schema import Operation, parameter, state
from spec_tests.port import Op

ROWS: Final = (
    # AdamW on a learned gain: `log_gain` is the logarithm before the first step, `gradient` its gradient at each step.
    Operation(
        Op.OPTIMIZER_STEP,
        level=6,
        config={
            "optimizer": ("adamw",),
            "learning_rate": float,
            "beta1": float,
            "beta2": float,
            "eps": float,
            "weight_decay": float,
        },
        inputs=(parameter("log_gain", "dim"), state("gradient", "steps dim")),
        outputs=(state("gain", "steps dim"),),
    ),
)

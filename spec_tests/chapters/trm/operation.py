"""Level 0: the recursion, and the loss of all its answers."""

from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

_HIDDEN: Final = "batch time model"

ROWS: Final = (
    Operation(
        Op.TRM_RECURSION,
        level=0,
        config={
            "micro_steps": int,
            "recursions": int,
            "no_grad_recursions": int,
            "window": int,
            "norm_eps": float,
        },
        inputs=(
            activation("x", _HIDDEN),
            activation("y", _HIDDEN),
            activation("z", _HIDDEN),
            index("position", "batch time"),
            parameter("query", "heads dim model"),
            parameter("key", "heads dim model"),
            parameter("value", "heads dim model"),
            parameter("output", "model heads dim"),
            parameter("gate", "hidden model"),
            parameter("up", "hidden model"),
            parameter("down", "model hidden"),
        ),
        outputs=(activation("latent", _HIDDEN), activation("answer", _HIDDEN)),
    ),
    Operation(
        Op.SUPERVISED_LOSS,
        level=0,
        config={},
        inputs=(state("losses", "batch answers"), state("weights", "answers")),
        outputs=(state("loss", "batch"),),
    ),
)

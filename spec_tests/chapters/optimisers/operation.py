"""Level 6: steps of the outer optimiser."""

from typing import Final

from spec_tests.chapters.newton_schulz.operation import SETS, STARTS
from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

ROWS: Final = (
    Operation(
        Op.MUON_STEP,
        level=6,
        config={
            "learning_rate": float,
            "momentum": float,
            "weight_decay": float,
            "coefficients": SETS,
            "newton_schulz_steps": int,
            "start": STARTS,
        },
        usual={"start": "add"},
        inputs=(
            parameter("weight", "rows columns"),
            state("buffer", "rows columns"),
            state("gradient", "rows columns"),
        ),
        outputs=(state("buffer", "rows columns"), parameter("weight", "rows columns")),
    ),
    Operation(
        Op.GROKFAST,
        level=6,
        config={"alpha": float, "strength": float},
        inputs=(state("gradients", "steps dim"),),
        outputs=(state("averages", "steps dim"), state("filtered", "steps dim")),
    ),
    Operation(
        Op.PERP_GRAD,
        level=6,
        config={"rescale": bool},
        inputs=(parameter("weight", "rows columns"), state("gradient", "rows columns")),
        outputs=(state("filtered", "rows columns"),),
    ),
    Operation(
        Op.QK_CLIP,
        level=6,
        config={"threshold": float, "causal": bool},
        usual={"causal": True},
        inputs=(
            activation("queries", "batch time heads dim"),
            activation("keys", "batch time heads dim"),
            parameter("query_weight", "heads dim model"),
            parameter("key_weight", "heads dim model"),
        ),
        outputs=(
            state("maximum", "heads"),
            parameter("query_weight", "heads dim model"),
            parameter("key_weight", "heads dim model"),
        ),
    ),
    Operation(
        Op.QK_CLIP_IN_SIGHT,
        level=6,
        config={"threshold": float, "window": int},
        inputs=(
            activation("queries", "batch time heads dim"),
            activation("keys", "batch time heads dim"),
            state("persistent_keys", "tokens heads dim"),
            state("cache_keys", "batch window-1 heads dim"),
            index("position", "batch time"),
            parameter("query_weight", "heads dim model"),
            parameter("key_weight", "heads dim model"),
        ),
        outputs=(
            state("maximum", "heads"),
            parameter("query_weight", "heads dim model"),
            parameter("key_weight", "heads dim model"),
        ),
    ),
)

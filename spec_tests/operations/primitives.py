"""Level 0: the primitives."""

from typing import Final

from spec_tests.operations.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op

_POSITION: Final = index("position", "batch time")
_SEQUENCE: Final = "batch time heads dim"

PRIMITIVES: Final = (
    Operation(
        Op.NEWTON_SCHULZ,
        level=0,
        config={"steps": int, "coefficients": ("quintic", "cubic", "polar_express")},
        inputs=(state("matrix", "batch rows columns"),),
        outputs=(state("orthogonal", "batch rows columns"),),
    ),
    Operation(
        Op.POLYNOMIAL_FEATURES,
        level=0,
        config={"basis": ("monomial_weighted", "monomial", "kronecker", "elementwise")},
        inputs=(activation("x", "batch dim"), parameter("coefficients", "degree")),
        outputs=(activation("features", "batch features"),),
    ),
    Operation(
        Op.L2_NORMALIZE,
        level=0,
        config={"eps": float},
        inputs=(activation("x", "batch dim"),),
        outputs=(activation("y", "batch dim"),),
    ),
    Operation(
        Op.SHORT_CONV,
        level=0,
        config={},
        inputs=(
            activation("x", "batch time channels"),
            parameter("weight", "channels kernel"),
            state("tail", "batch kernel-1 channels"),
            _POSITION,
        ),
        outputs=(state("tail", "batch kernel-1 channels"), activation("y", "batch time channels")),
    ),
    Operation(
        Op.QK_PROJECTION,
        level=0,
        config={},
        inputs=(
            activation("queries", _SEQUENCE),
            activation("keys", _SEQUENCE),
            state("carry", "batch heads dim dim"),
            _POSITION,
        ),
        outputs=(
            state("carry", "batch heads dim dim"),
            state("frobenius", "batch time heads"),
            activation("projected", _SEQUENCE),
        ),
    ),
    Operation(
        Op.QK_GATE,
        level=0,
        config={},
        inputs=(
            activation("projected", _SEQUENCE),
            state("frobenius", "batch time heads"),
            parameter("log_gain", "heads dim"),
            parameter("scale", "heads dim"),
        ),
        outputs=(activation("gated", _SEQUENCE),),
    ),
    Operation(
        Op.SLIDING_WINDOW_ATTENTION,
        level=0,
        config={"window": int},
        inputs=(
            activation("queries", _SEQUENCE),
            activation("keys", _SEQUENCE),
            activation("values", _SEQUENCE),
            parameter("persistent_keys", "tokens heads dim"),
            parameter("persistent_values", "tokens heads dim"),
            state("cache_keys", "batch window-1 heads dim"),
            state("cache_values", "batch window-1 heads dim"),
            _POSITION,
        ),
        outputs=(
            state("cache_keys", "batch window-1 heads dim"),
            state("cache_values", "batch window-1 heads dim"),
            activation("output", _SEQUENCE),
        ),
    ),
    Operation(
        Op.M3_MIX,
        level=0,
        config={"warmup_crossings": int},
        inputs=(
            state("previous", "batch rows columns"),
            parameter("initial", "rows columns"),
            index("crossings", "batch"),
            parameter("alpha_logit", ""),
        ),
        outputs=(state("mixing", "batch"), state("mixed", "batch rows columns")),
    ),
    Operation(
        Op.STABLEMAX,
        level=0,
        config={},
        inputs=(activation("x", "batch dim"),),
        outputs=(activation("probabilities", "batch dim"),),
    ),
    Operation(
        Op.LTM_SCAN,
        level=0,
        config={"decay": float},
        inputs=(activation("x", "batch time dim"), state("carry", "batch dim"), _POSITION),
        outputs=(state("carry", "batch dim"), activation("y", "batch time dim")),
    ),
    Operation(
        Op.MAG_GATE,
        level=0,
        config={"kind": ("source", "convex"), "floor": float},
        inputs=(
            activation("attention", "batch time dim"),
            activation("memory", "batch time dim"),
            activation("logits", "batch time dim"),
        ),
        outputs=(state("gate", "batch time dim"), activation("joined", "batch time dim")),
    ),
    Operation(
        Op.ACT_HALT,
        level=0,
        config={"threshold": float},
        inputs=(state("probabilities", "batch steps"),),
        outputs=(index("halted", "batch"), state("weights", "batch steps"), state("ponder", "batch")),
    ),
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

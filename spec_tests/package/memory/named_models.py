"""The table of named models: each a published recurrence, and the rule and gates of this package that must equal it.

The recurrences stand in `linear_models` and `deep_models`; `test_named_models` proves the table, which the page on
models and the presets repeat.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from spec_tests.package.memory.deep_models import atlas, memora, moneta, omeganet, titans_lmm, ttt_linear, ttt_mlp, yaad
from spec_tests.package.memory.linear_models import (
    Arrays,
    deltanet,
    gated_deltanet,
    gla,
    kda,
    linear_attention,
    longhorn,
    mamba2,
    retnet,
)
from spec_tests.port import Array

Row = Callable[[Arrays, dict[str, Any]], Array]


class Model(NamedTuple):
    """A row of the table: the recurrence, the fields of `MemoryRule` that are not usual, and constants of its own.

    `gates` names the arrays that are alpha, eta and theta here, or a number for all tokens; None of alpha is that of
    `retnet` and `mamba2`, which make it of their constants.
    """

    recurrence: Row
    rule: dict[str, Any]
    gates: tuple[str | float | None, str | float, str | float]
    constants: dict[str, Any]


DELTA: Final = {"name": "delta", "chunk": 1}
HEBBIAN: Final = {"name": "delta", "chunk": 4, "bias": {"name": "dot"}}
DEEP: Final = {"name": "delta", "architecture": "mlp_norm", "chunk": 3}
MODELS: Final[dict[str, Model]] = {
    "linear attention": Model(linear_attention, HEBBIAN, (1.0, 1.0, 0.0), {}),
    "retnet": Model(retnet, HEBBIAN, (None, 1.0, 0.0), {}),
    "mamba-2": Model(mamba2, HEBBIAN, (None, "delta", 0.0), {}),
    "gla": Model(gla, HEBBIAN | {"gate_axis": "columns"}, ("log_features", 1.0, 0.0), {}),
    "deltanet": Model(deltanet, DELTA, (1.0, "beta", 0.0), {}),
    "gated deltanet": Model(gated_deltanet, DELTA | {"error_at": "retained"}, ("log_head", "beta", 0.0), {}),
    "kda": Model(kda, DELTA | {"error_at": "retained", "gate_axis": "columns"}, ("log_features", "beta", 0.0), {}),
    "longhorn": Model(longhorn, DELTA | {"algorithm": "implicit"}, (1.0, "beta", 0.0), {}),
    "ttt-linear": Model(ttt_linear, DEEP | {"architecture": "linear_norm"}, (1.0, "eta", 0.0), {}),
    "ttt-mlp": Model(ttt_mlp, DEEP, (1.0, "eta", 0.0), {}),
    "titans-lmm": Model(
        titans_lmm, {"name": "titans", "architecture": "mlp", "chunk": 3}, ("log_head", "eta", "momentum"), {}
    ),
    "omeganet": Model(
        omeganet, {"name": "omega", "architecture": "mlp", "chunk": 3}, ("log_head", "eta", 0.0), {"window": 3}
    ),
    "atlas": Model(
        atlas,
        {"name": "atlas", "architecture": "mlp", "chunk": 3},
        ("log_head", "eta", "momentum"),
        {"window": 3, "steps": 5},
    ),
    "moneta": Model(
        moneta,
        DEEP | {"bias": {"name": "lp", "exponent": 3.0, "smoothing": 1e-3}, "link": {"name": "lq", "exponent": 4.0}},
        ("log_head", "eta", 0.0),
        {"p": 3.0, "q": 4.0, "s": 1e-3},
    ),
    "yaad": Model(yaad, DEEP | {"bias": {"name": "huber_norm"}}, ("log_head", "eta", 0.0), {}),
    "memora": Model(
        memora, DEEP | {"link": {"name": "softmax", "scale": 2.0}}, ("log_head", "eta", 0.0), {"scale": 2.0}
    ),
}
"""The table but for MesaNet, whose form is `ridge_scan` and whose recurrence is `mesa`."""

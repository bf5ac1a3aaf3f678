"""Level 4: the MAG block.

The parameters and the state of a block have one name each; the language model has those of layer 0 and of layer 1
under the prefixes `0.` and `1.`. Axes: `attention` = 3 heads dim (queries, keys, values), `channels` = heads (2 key +
values), `gates` = heads (3 + window) in the order retention, momentum, step size, weights by age, head after head in
each, `span` the attention window, `reads` = heads values.
"""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.memory_step.operation import RULE, STATE
from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op, Scalar

BLOCK_CONFIG: Final[Mapping[str, type[Scalar] | tuple[str, ...]]] = {
    **RULE,
    "span": int,
    "rope_base": float,
    "gate": ("source", "convex"),
    "floor": float,
    "norm_eps": float,
    "step_max": float,
    "basis": ("monomial_weighted", "monomial", "kronecker", "elementwise"),
    "projection": ("none", "tnt", "frobenius_tanh"),
    "inner_grad": ("full", "detached"),
}

MODEL: Final[Mapping[str, Scalar]] = {
    "architecture": "matrix",
    "rule": "omega",
    "chunk": 2,
    "boundary": "carry",
    "read": "post",
    "loss_scale": 0.5,
    "step_scale": "mass",
    "momentum_max": 0.9,
    "coefficients": "quintic",
    "newton_schulz_steps": 5,
    "span": 2,
    "rope_base": 100.0,
    "gate": "convex",
    "floor": 0.1,
    "norm_eps": 1e-5,
    "step_max": 0.8,
    "basis": "monomial_weighted",
    "projection": "frobenius_tanh",
}
"""One block for operations that ask something else of it than its configuration."""

BLOCK_PARAMETERS: Final = (
    parameter("norm", "model"),
    parameter("attention_projection", "attention model"),
    parameter("persistent", "tokens model"),
    parameter("memory_projection", "channels model"),
    parameter("convolution", "channels kernel"),
    parameter("gates_weight", "gates model"),
    parameter("gates_bias", "gates"),
    parameter("coefficients", "degree"),
    parameter("log_gain", "heads key"),
    parameter("initial", "heads parameters"),
    parameter("attention_norm", "reads"),
    parameter("memory_norm", "reads"),
    parameter("gate_weight", "reads model"),
    parameter("gate_bias", "reads"),
    parameter("output", "model reads"),
)

BLOCK_STATE: Final = (
    state("cache_keys", "batch span-1 heads dim"),
    state("cache_values", "batch span-1 heads dim"),
    state("tail", "batch kernel-1 channels"),
    state("carry", "batch heads key key"),
    *STATE,
)

LAYERS: Final = ("0.", "1.")
_X: Final = activation("x", "batch time model")
_RESET: Final = index("reset", "batch time")

ROWS: Final = (
    Operation(
        Op.MAG_BLOCK,
        level=4,
        config={**BLOCK_CONFIG, "persistent_in_memory": bool},
        inputs=(_X, _RESET, *BLOCK_PARAMETERS, *BLOCK_STATE),
        outputs=(*BLOCK_STATE, activation("y", "batch time model")),
        usual={"persistent_in_memory": False},
    ),
)

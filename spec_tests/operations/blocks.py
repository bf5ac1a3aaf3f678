"""Level 4: the MAG block, the language model over two of them, and the checkpoint.

The parameters and the state of a block have one name each; the language model has those of layer 0 and of layer 1
under the prefixes `0.` and `1.`. Axes: `attention` = 3 heads dim (queries, keys, values), `channels` = heads (2 key +
values), `gates` = heads (3 + window) in the order retention, momentum, step size, weights by age, head after head in
each, `span` the attention window, `reads` = heads values.
"""

from collections.abc import Mapping
from typing import Final

from spec_tests.operations.memories import MEMORIES, RULE, STATE
from spec_tests.operations.schema import Operation, TensorSchema, activation, index, parameter, state
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
FEED_FORWARD: Final = (
    parameter("feed_norm", "model"),
    parameter("feed_up", "feed model"),
    parameter("feed_down", "model hidden"),
)
LAYERS: Final = ("0.", "1.")

_X: Final = activation("x", "batch time model")
_RESET: Final = index("reset", "batch time")


def prefixed(prefix: str, tensors: tuple[TensorSchema, ...]) -> tuple[TensorSchema, ...]:
    """Return the same tensors under longer names."""
    return tuple(TensorSchema(f"{prefix}{tensor.name}", tensor.axes, tensor.role) for tensor in tensors)


def _in_every_layer(*tensors: TensorSchema) -> tuple[TensorSchema, ...]:
    return tuple(tensor for prefix in LAYERS for tensor in prefixed(prefix, tensors))


_SCAN: Final = next(row for row in MEMORIES if row.op is Op.MEMORY_SCAN)

BLOCKS: Final = (
    Operation(
        Op.MAG_BLOCK,
        level=4,
        config=BLOCK_CONFIG,
        inputs=(_X, _RESET, *BLOCK_PARAMETERS, *BLOCK_STATE),
        outputs=(*BLOCK_STATE, activation("y", "batch time model")),
    ),
    Operation(
        Op.LM_FORWARD,
        level=4,
        config=BLOCK_CONFIG,
        inputs=(
            index("tokens", "batch time"),
            _RESET,
            parameter("embedding", "vocabulary model"),
            *_in_every_layer(*BLOCK_PARAMETERS, *FEED_FORWARD),
            parameter("final_norm", "model"),
            *_in_every_layer(*BLOCK_STATE),
        ),
        outputs=(*_in_every_layer(*BLOCK_STATE), state("logits", "batch time vocabulary")),
    ),
    # A scan that is interrupted after `split` tokens: the state goes to the port's own kind of file and comes back.
    Operation(
        Op.CHECKPOINT_ROUND_TRIP,
        level=4,
        config={**RULE, "split": int},
        inputs=_SCAN.inputs,
        outputs=_SCAN.outputs,
    ),
)

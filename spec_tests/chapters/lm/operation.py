"""Level 4: the language model over two blocks and two feed-forwards."""

from typing import Final

from spec_tests.chapters.blocks.operation import BLOCK_CONFIG, BLOCK_PARAMETERS, BLOCK_STATE, LAYERS
from spec_tests.contract.schema import Operation, TensorSchema, index, parameter, state
from spec_tests.port import Op

FEED_FORWARD: Final = (
    parameter("feed_norm", "model"),
    parameter("feed_up", "feed model"),
    parameter("feed_down", "model hidden"),
)

_RESET: Final = index("reset", "batch time")


def prefixed(prefix: str, tensors: tuple[TensorSchema, ...]) -> tuple[TensorSchema, ...]:
    """Return the same tensors under longer names."""
    return tuple(TensorSchema(f"{prefix}{tensor.name}", tensor.axes, tensor.role) for tensor in tensors)


def _in_every_layer(*tensors: TensorSchema) -> tuple[TensorSchema, ...]:
    return tuple(tensor for prefix in LAYERS for tensor in prefixed(prefix, tensors))


ROWS: Final = (
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
)

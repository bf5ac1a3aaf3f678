"""Level 6: steps of training of the language model over two blocks.

The model is that of `lm_forward` with the configuration MODEL, so that what is asked here is the training. Axes: `time`
counts one token more than the model gets, `numbers` are the entries of all PARAMETERS one after another, row by row,
and `tensors` those PARAMETERS, both in the order of the table.
"""

from typing import Final

from spec_tests.chapters.blocks.operation import BLOCK_PARAMETERS, BLOCK_STATE, LAYERS
from spec_tests.chapters.lm.operation import FEED_FORWARD, prefixed
from spec_tests.chapters.mugrokfast.operation import RATES
from spec_tests.contract.schema import Operation, index, parameter, state
from spec_tests.port import Op

OPTIMISERS: Final = ("sgd", "adamw", "muon", "mugrokfast")
HIDDEN: Final = ("attention_projection", "memory_projection", "output", "feed_up", "feed_down")
"""The matrices of each layer that go to Muon."""

PARAMETERS: Final = (
    parameter("embedding", "vocabulary model"),
    *(tensor for layer in LAYERS for tensor in prefixed(layer, (*BLOCK_PARAMETERS, *FEED_FORWARD))),
    parameter("final_norm", "model"),
)
STATES: Final = tuple(tensor for layer in LAYERS for tensor in prefixed(layer, BLOCK_STATE))
MOMENTS: Final = (
    state("slow", "numbers"),
    state("mean", "numbers"),
    state("square", "numbers"),
    index("updates", "tensors"),
)

ROWS: Final = (
    Operation(
        Op.TRAIN_STEPS,
        level=6,
        config={
            **RATES,
            "optimizer": OPTIMISERS,
            "inner_grad": ("full", "detached"),
            "carry_state": bool,
            "warmup_steps": int,
            "total_steps": int,
            "min_ratio": float,
            "step0": int,
        },
        inputs=(
            index("tokens", "steps batch time"),
            index("reset", "steps batch time"),
            *PARAMETERS,
            *MOMENTS,
            *STATES,
        ),
        outputs=(
            state("losses", "steps"),
            state("grad_norms", "steps"),
            *MOMENTS,
            *STATES,
            state("parameters", "numbers"),
        ),
    ),
)

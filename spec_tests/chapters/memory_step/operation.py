"""Level 1: one token of the memory; and what every form of the memory takes and gives."""

from collections.abc import Mapping
from typing import Final

from spec_tests.contract.schema import Operation, activation, index, parameter, state
from spec_tests.port import Op, Scalar

# The parameters of a memory stand in one vector, matrix after matrix (W, or W1 then W2), row by row; the hidden width
# of an `mlp` follows from their number. Keys and queries are features. `reset` marks a token that begins a document,
# and `position` counts the tokens of the document so far.
RULE: Final[Mapping[str, type[Scalar] | tuple[str, ...]]] = {
    "architecture": ("matrix", "mlp"),
    "rule": ("titans", "omega", "delta", "atlas", "atlas_appendix"),
    "chunk": int,
    "boundary": ("carry", "truncate"),
    "read": ("post", "pre"),
    "loss_scale": float,
    "step_scale": ("literal", "mass"),
    "momentum_max": float,
    "coefficients": ("quintic", "cubic", "polar_express"),
    "newton_schulz_steps": int,
}

STATE: Final = (
    state("weights", "batch heads parameters"),
    state("momentum", "batch heads parameters"),
    state("anchor", "batch heads parameters"),
    state("window_keys", "batch window-1 heads features"),
    state("window_values", "batch window-1 heads values"),
    index("position", "batch"),
)

_WEIGHTS, _MOMENTUM, _ANCHOR, _WINDOW_KEYS, _WINDOW_VALUES, _POSITION = STATE


def memory_form(op: Op, level: int, time: str, *, traced: bool) -> Operation:
    """Describe one form of the memory; `time` is the axis of the tokens, empty where a call is one token.

    `traced`: the form passes through the state of every token and can show it: g, the gradient summed over the window
    and weighted by age, as the write takes it in, and, where a call has many tokens, S and M after each.
    """
    tokens = (
        activation("keys", f"batch {time} heads features"),
        activation("values", f"batch {time} heads values"),
        activation("queries", f"batch {time} heads features"),
        state("retention", f"batch {time} heads"),
        state("momentum_decay", f"batch {time} heads"),
        state("step_size", f"batch {time} heads"),
        state("window_weights", f"batch {time} heads window"),
        index("reset", f"batch {time}"),
    )
    names = ("gradient", "momentum_trace", "weights_trace") if time else ("gradient",)
    taps = tuple(state(name, f"batch {time} heads parameters") for name in names if traced)
    reads = activation("reads", f"batch {time} heads values")
    outputs = (_POSITION, _WINDOW_KEYS, _WINDOW_VALUES, _ANCHOR, _MOMENTUM, _WEIGHTS, reads)
    return Operation(op, level, RULE, (*tokens, parameter("initial", "heads parameters"), *STATE), outputs, taps)


ROWS: Final = (memory_form(Op.MEMORY_STEP, level=1, time="", traced=True),)

"""The table of operations: configuration keys, inputs and outputs of each, with axes and role.

An axis name that appears twice in one operation has one length; a number is that length. Roles decide the precision in
the profile `bf16_io`: activations are bfloat16 values, parameters and state float32, indices int64. Table rows for one
level of the specification stand in one tuple; `OPERATIONS` is their union.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from spec_tests.port import Op, Scalar

Role = Literal["activation", "parameter", "state", "index"]


@dataclass(frozen=True)
class TensorSchema:
    """One array of an operation: its name, the names of its axes, and its role."""

    name: str
    axes: tuple[str, ...]
    role: Role


@dataclass(frozen=True)
class Operation:
    """One row of the table."""

    op: Op
    level: int
    config: Mapping[str, type[Scalar]]
    inputs: tuple[TensorSchema, ...]
    outputs: tuple[TensorSchema, ...]

    def role(self, name: str) -> Role:
        """Return the role of an input or output; KeyError for a name that the operation does not have."""
        return {tensor.name: tensor.role for tensor in (*self.inputs, *self.outputs)}[name]


def activation(name: str, axes: str) -> TensorSchema:
    """Describe an array in the model's own precision; `axes` are space-separated."""
    return TensorSchema(name, tuple(axes.split()), "activation")


def parameter(name: str, axes: str) -> TensorSchema:
    """Describe a learned array."""
    return TensorSchema(name, tuple(axes.split()), "parameter")


def state(name: str, axes: str) -> TensorSchema:
    """Describe an array that is carried, a norm or a gate: float32 or wider."""
    return TensorSchema(name, tuple(axes.split()), "state")


def index(name: str, axes: str) -> TensorSchema:
    """Describe an integer array."""
    return TensorSchema(name, tuple(axes.split()), "index")


_POSITION: Final = index("position", "batch time")
_SEQUENCE: Final = "batch time heads dim"

PRIMITIVES: Final = (
    Operation(
        Op.NEWTON_SCHULZ,
        level=0,
        config={"steps": int, "coefficients": str},
        inputs=(state("matrix", "batch rows columns"),),
        outputs=(state("orthogonal", "batch rows columns"),),
    ),
    Operation(
        Op.POLYNOMIAL_FEATURES,
        level=0,
        config={"basis": str},
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
        outputs=(activation("y", "batch time channels"), state("tail", "batch kernel-1 channels")),
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
            activation("projected", _SEQUENCE),
            state("carry", "batch heads dim dim"),
            state("frobenius", "batch time heads"),
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
            activation("output", _SEQUENCE),
            state("cache_keys", "batch window-1 heads dim"),
            state("cache_values", "batch window-1 heads dim"),
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
        outputs=(state("mixed", "batch rows columns"), state("mixing", "batch")),
    ),
)

# The parameters of a memory stand in one vector, matrix after matrix (W, or W1 then W2), row by row; the hidden width
# of an `mlp` follows from their number. Keys and queries are features. `reset` marks a token that begins a document,
# and `position` counts the tokens of the document so far.
_RULE: Final[Mapping[str, type[Scalar]]] = {
    "architecture": str,
    "rule": str,
    "chunk": int,
    "boundary": str,
    "read": str,
    "loss_scale": float,
    "step_scale": str,
    "momentum_max": float,
    "coefficients": str,
    "newton_schulz_steps": int,
}
_MEMORY: Final = (
    state("weights", "batch heads parameters"),
    state("momentum", "batch heads parameters"),
    state("anchor", "batch heads parameters"),
    state("window_keys", "batch window-1 heads features"),
    state("window_values", "batch window-1 heads values"),
    index("position", "batch"),
)


def _memory(op: Op, level: int, time: str) -> Operation:
    """Describe one form of the memory; `time` is the axis of the tokens, empty where a call is one token."""
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
    reads = activation("reads", f"batch {time} heads values")
    return Operation(op, level, _RULE, (*tokens, parameter("initial", "heads parameters"), *_MEMORY), (reads, *_MEMORY))


MEMORIES: Final = (
    _memory(Op.MEMORY_STEP, level=1, time=""),
    _memory(Op.MEMORY_SCAN, level=2, time="time"),
    _memory(Op.MEMORY_CHUNKED, level=3, time="time"),
    # The form that a port trains with: the one whose gradients matter.
    _memory(Op.MEMORY_GRAD, level=5, time="time"),
)

OPTIMISERS: Final = (
    # AdamW on a learned gain: `log_gain` is the logarithm before the first step, `gradient` its gradient at each step.
    Operation(
        Op.OPTIMIZER_STEP,
        level=6,
        config={
            "optimizer": str,
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

OPERATIONS: Final[Mapping[Op, Operation]] = {row.op: row for row in (*PRIMITIVES, *MEMORIES, *OPTIMISERS)}

"""Level 2: the recurrence with every axis of MIRAS; and what both forms of it take and give."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.bias.error_maps import BIASES
from spec_tests.chapters.link.links import LINKS
from spec_tests.chapters.memory_step.operation import RULE, STATE
from spec_tests.chapters.miras_scan.architectures import ARCHITECTURES
from spec_tests.contract.schema import Need, Operation, activation, index, parameter, state
from spec_tests.port import Op, Scalar

AXES: Final[Mapping[str, type[Scalar] | tuple[str, ...]]] = {
    **RULE,
    "architecture": ARCHITECTURES,
    "read": ("post", "pre", "anchor"),
    "bias": BIASES,
    "exponent": float,
    "smoothing": float,
    "link": tuple(LINKS),
    "link_exponent": float,
    "link_scale": float,
    "level": float,
    "retention": ("dual", "proximal_elastic"),
    "error_at": ("previous", "retained"),
    "gate_axis": ("head", "rows", "columns"),
    "algorithm": ("gd", "implicit"),
}
"""The keys: those of the memory, with more architectures and a third place to read, and an axis of MIRAS each."""

_EXACT: Final[Mapping[str, tuple[Scalar, ...]]] = {
    "architecture": ("matrix",),
    "rule": ("delta",),
    "chunk": (1,),
    "bias": ("l2",),
    "link": ("identity",),
    "retention": ("dual",),
}
_ONE_MATRIX: Final = "several matrices have no rows and columns in common that a gate could be one of"
_NO_BOUND: Final = "nobody has bounded the curvature of this architecture"
NEEDS: Final = (
    Need("error_at", "retained", {**_EXACT, "algorithm": ("gd",)}, "defined for the models that have it: one matrix"),
    Need(
        "algorithm",
        "implicit",
        {**_EXACT, "step_scale": ("literal",)},
        "the minimiser is closed for squared errors of one matrix, and stable without a bound on its step",
    ),
    Need("gate_axis", "rows", {"architecture": ("matrix",)}, _ONE_MATRIX),
    Need("gate_axis", "columns", {"architecture": ("matrix",)}, _ONE_MATRIX),
    Need(
        "gate_axis",
        "columns",
        {"link": tuple(link for link in LINKS if link != "softmax")},
        "logits are known up to a constant of each row, which gates of columns would tell apart",
    ),
    Need("architecture", "mlp_glu", {"step_scale": ("literal",)}, _NO_BOUND),
    Need("bias", "yaad_printed", {"step_scale": ("literal",)}, "the map jumps, so its slope has no bound"),
    Need(
        "retention",
        "proximal_elastic",
        {"link": ("identity",)},
        "it shrinks W itself",
    ),
)
"""What does not go together (docs/spec/miras_scan.md)."""

_WEIGHTS, _MOMENTUM, _ANCHOR, _WINDOW_KEYS, _WINDOW_VALUES, _POSITION = STATE


def miras_form(op: Op, level: int, keys: Mapping[str, type[Scalar] | tuple[str, ...]], *, traced: bool) -> Operation:
    """Describe one form of the memory with every axis; `traced` as in chapter MEM.

    `gate` is 1 where `gate_axis` is `head`, else as many as values or features.
    """
    tokens = (
        activation("keys", "batch time heads features"),
        activation("values", "batch time heads values"),
        activation("queries", "batch time heads features"),
        state("retention", "batch time heads gate"),
        state("momentum_decay", "batch time heads"),
        state("step_size", "batch time heads"),
        state("window_weights", "batch time heads window"),
        state("threshold", "batch time heads"),
        index("reset", "batch time"),
    )
    names = ("gradient", "momentum_trace", "weights_trace") if traced else ()
    taps = tuple(state(name, "batch time heads parameters") for name in names)
    reads = activation("reads", "batch time heads values")
    outputs = (_POSITION, _WINDOW_KEYS, _WINDOW_VALUES, _ANCHOR, _MOMENTUM, _WEIGHTS, reads)
    inputs = (*tokens, parameter("initial", "heads parameters"), *STATE)
    return Operation(op, level, keys, inputs, outputs, taps, needs=NEEDS)


ROWS: Final = (miras_form(Op.MIRAS_SCAN, level=2, keys=AXES, traced=True),)

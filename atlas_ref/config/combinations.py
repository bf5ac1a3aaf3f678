"""Which combinations of the axes of a memory have no meaning, and why: each is refused with the names of its fields.

An axis is published for one kind of memory, and some of them only there: a step that is the exact minimiser of its loss
is a formula for one matrix and a squared error, a gate for each row needs rows. What is not listed here is defined.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas_ref.config.memory import MemoryConfig

Needed = Mapping[str, object]
"""What fields, named below `model.memory`, must be: a value, or one of several."""

ONE_TOKEN: Needed = {
    "architecture": "matrix",
    "rule": "delta",
    "chunk": 1,
    "bias.kind": "l2",
    "link.kind": "identity",
    "retention": "dual",
}
"""Where the chunk of a parallel form is a schedule, and no part of what a write means."""

NEEDS: tuple[tuple[str, object, Needed, str], ...] = (
    ("error_at", "retained", ONE_TOKEN, "which is the exact rule of one token at a time"),
    (
        "algorithm",
        "implicit",
        {**ONE_TOKEN, "error_at": "retained", "step_scale": "literal"},
        "which minimises the loss of one token near what the memory has retained, and is stable for every step",
    ),
    (
        "algorithm",
        "ridge",
        {
            **ONE_TOKEN,
            "error_at": "previous",
            "gate_axis": "head",
            "step_scale": "literal",
            "read": "post",
            "shards.length": 0,
        },
        "which solves for the whole past at every token",
    ),
    ("gate_axis", "rows", {"architecture": "matrix"}, "as the layers of a network share no rows"),
    ("gate_axis", "columns", {"architecture": "matrix"}, "as the layers of a network share no columns"),
    ("gates.retention_kind", "retnet", {"gate_axis": "head"}, "which is one number a head"),
    ("gates.retention_kind", "mamba2", {"gate_axis": "head"}, "which is one number a head"),
    ("retention", "proximal_elastic", {"link.kind": "identity"}, "whose shrinkage stays in the memory"),
    (
        "link.kind",
        "softmax",
        {"gate_axis": ("head", "rows")},
        "whose logits are known up to a constant of each row, which gates of columns would tell apart",
    ),
    ("architecture", "mlp_glu", {"step_scale": "literal"}, "whose curvature has no bound to divide by"),
    ("bias.kind", "yaad_printed", {"step_scale": "literal"}, "whose jump at the threshold has no bound to divide by"),
)
"""Field, value, what it needs, and the reason."""


def meaningless(memory: "MemoryConfig") -> Iterator[str]:
    """Yield a sentence for each field that must be something else for what another one says."""
    for name, value, needed, reason in NEEDS:
        if field(memory, name) != value:
            continue
        for other, valid in needed.items():
            found = field(memory, other)
            choices = valid if isinstance(valid, tuple) else (valid,)
            if found not in choices:
                yield (
                    f"model.memory.{other} is {_shown(found)}; it must be {' or '.join(map(_shown, choices))} for "
                    f"model.memory.{name} = {_shown(value)}, {reason}"
                )


def field(memory: "MemoryConfig", name: str) -> object:
    """Return the value of a field by its dotted name below `model.memory`."""
    section: object = memory
    for part in name.split("."):
        section = getattr(section, part)
    return section


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)

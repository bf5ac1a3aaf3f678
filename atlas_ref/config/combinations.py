"""Which combinations of the fields of a memory have no meaning: the table of `memory.meaning`, under names of fields.

Some fields are of the configuration alone: `ridge` and what makes the gates are in no rule.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from atlas_ref.memory.meaning import LITERAL, NEEDS, ONE_TOKEN, Need, reasons_against

FIELDS = {
    "kind": "kind",
    "architecture": "architecture",
    "rule": "rule",
    "chunk": "chunk",
    "window_boundary": "window_boundary",
    "window": "omega_window",
    "update_every": "ttl_update_frequency",
    "read": "read",
    "step_scale": "step_scale",
    "bias": "bias.kind",
    "link": "link.kind",
    "retention": "retention",
    "retention_kind": "gates.retention_kind",
    "error_at": "error_at",
    "gate_axis": "gate_axis",
    "algorithm": "algorithm",
    "shard": "shards.length",
    "projection": "qk_projection.kind",
}
"""The field below `model.memory` that says what an axis of the table is."""

OF_A_RUN = (
    *NEEDS,
    Need("rule", "delta", {"window": (1,)}, "which writes one token at a time"),
    Need("algorithm", "implicit", {"error_at": ("retained",)}, "which stays near what the memory has retained"),
    Need(
        "algorithm",
        "ridge",
        {
            **ONE_TOKEN,
            **LITERAL,
            "error_at": ("previous",),
            "gate_axis": ("head",),
            "read": ("post",),
            "shard": (0,),
        },
        "which solves for the whole past at every token",
    ),
    Need(
        "kind",
        "hierarchical",
        {
            "algorithm": ("gd",),
            "error_at": ("previous",),
            "read": ("post",),
            "shard": (0,),
            "projection": ("none", "tnt"),
        },
        "whose memories have chunks, reads, shards and projections of their own",
    ),
    Need("retention_kind", "retnet", {"gate_axis": ("head",)}, "which is one number a head"),
    Need("retention_kind", "mamba2", {"gate_axis": ("head",)}, "which is one number a head"),
)
"""What a rule needs, and what else a configuration does."""


def meaningless(memory: BaseModel) -> Iterator[str]:
    """Yield a sentence for each field of `model.memory` that must be something else for what another one says."""
    axes = {axis: field(memory, name) for axis, name in FIELDS.items()}
    yield from reasons_against(axes, OF_A_RUN, lambda axis: f"model.memory.{FIELDS[axis]}")


def field(memory: BaseModel, name: str) -> object:
    """Return the value of a field by its dotted name below `model.memory`."""
    section: object = memory
    for part in name.split("."):
        section = getattr(section, part)
    return section

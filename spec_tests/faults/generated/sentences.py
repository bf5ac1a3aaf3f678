"""What forbids a generated fault: for each operation and aspect of it, the sentences of docs/spec that it breaks."""

from collections.abc import Mapping
from typing import Final

from spec_tests.contract.schema import Operation
from spec_tests.port import Op

PRECISION: Final = ("CALL-4",)
_MEMORY: Final = {"state": "MEM-7", "hidden": "MEM-5 WIN-2", "rows": "MEM-8", "gradient": "GRAD-1 GRAD-2 GRAD-3"}

FORBIDDEN: Final[Mapping[Op, Mapping[str, str]]] = {
    Op.ACT_HALT: {"value": "ACT-1 ACT-3 ACT-4", "rows": "ACT-6", "gradient": "ACT-4 ACT-5"},
    Op.CHECKPOINT_ROUND_TRIP: {**_MEMORY, "value": "CKPT-1", "rows": "CKPT-3"},
    Op.CIRCULAR_FIT: {"value": "GROK-4 GROK-5 GROK-6"},
    Op.CONCENTRATION_NULL: {"value": "GROK-8"},
    Op.EPISODE_LOSS: {"value": "EPI-7", "gradient": "EPI-9"},
    Op.EPISODE_ROWS: {"value": "EPI-1 EPI-2 EPI-3 EPI-4 EPI-5", "rows": "EPI-6"},
    Op.GATE_FLOOR: {"value": "FLOOR-1 FLOOR-2 FLOOR-3 FLOOR-4", "rows": "FLOOR-5", "gradient": "FLOOR-3"},
    Op.RETRIEVAL_GAIN: {"value": "RETR-1 RETR-2 RETR-3"},
    Op.MEMORY_TELEMETRY: {"value": "TELE-1 TELE-2 TELE-3 TELE-4 TELE-5 TELE-6"},
    Op.FOURIER_CONCENTRATION: {"value": "GROK-1"},
    Op.GROKKING_PHASES: {"value": "GROK-9 GROK-10 GROK-11"},
    Op.GROKFAST: {"value": "OPT-3 OPT-4"},
    Op.HALT_LOSS: {"value": "HALT-1 HALT-3", "rows": "HALT-6", "hidden": "HALT-4", "gradient": "HALT-5"},
    Op.L2_NORMALIZE: {"value": "NORM-1", "rows": "NORM-4"},
    Op.LM_FORWARD: {"value": "LM-1 LM-2", "state": "LM-5", "hidden": "LM-6", "rows": "LM-3"},
    Op.LTM_SCAN: {"value": "LTM-1", "state": "LTM-3", "hidden": "LTM-2", "rows": "LTM-4", "gradient": "LTM-5"},
    Op.M3_MIX: {"value": "M3-1 M3-2", "rows": "M3-5", "gradient": "M3-3 M3-4"},
    Op.LMM_BLOCK: {"value": "LMM-1", "state": "LMM-2", "hidden": "LMM-3", "rows": "LMM-4", "gradient": "LMM-5"},
    Op.MAC_BLOCK: {
        "value": "MAC-1 MAC-2 MAC-3 MAC-4 MAC-5 MAC-6",
        "state": "MAC-7",
        "hidden": "MAC-8",
        "rows": "MAC-9",
        "gradient": "MAC-10",
    },
    Op.MAG_BLOCK: {
        "value": "BLOCK-1 BLOCK-2 BLOCK-4 BLOCK-5 BLOCK-6 BLOCK-11",
        "state": "BLOCK-7",
        "hidden": "BLOCK-8",
        "rows": "BLOCK-9",
        "gradient": "BLOCK-10",
    },
    Op.MAG_BLOCK_MARKS: {
        "value": "MARK-1 MARK-2 MARK-3 MARK-4 MARK-5",
        "state": "MARK-6",
        "hidden": "MARK-1 MARK-3",
        "rows": "MARK-7",
        "gradient": "MARK-8",
    },
    Op.MAG_GATE: {"value": "MAG-1 MAG-2 MAG-7 MAG-8", "rows": "MAG-6", "gradient": "MAG-5"},
    Op.MAL_BLOCK: {
        "value": "MAL-1 MAL-2 MAL-7",
        "state": "MAL-3",
        "hidden": "MAL-4",
        "rows": "MAL-5",
        "gradient": "MAL-6",
    },
    Op.MEMORY_CHUNKED: {**_MEMORY, "value": "CHUNK-5", "gradient": "CHUNK-6"},
    Op.MEMORY_GRAD: {**_MEMORY, "value": "CALL-3"},
    Op.MEMORY_HIERARCHICAL: {
        "value": "HIER-1 HIER-2 HIER-3 HIER-4 HIER-6 HIER-9",
        "state": "HIER-8",
        "hidden": "HIER-3 HIER-8",
        "rows": "HIER-8",
        "gradient": "HIER-7",
    },
    Op.MEMORY_SCAN: {**_MEMORY, "value": "MEM-2"},
    Op.MEMORY_SCHEDULE: {
        "value": "TTL-1 TTL-2 TTL-3 SHARD-1 SHARD-2 SHARD-3",
        "state": "TTL-5",
        "hidden": "TTL-6",
        "rows": "SHARD-4",
        "gradient": "SHARD-5",
    },
    Op.MEMORY_STEP: {**_MEMORY, "value": "MEM-1 RULE-1"},
    Op.MIRAS_CHUNKED: {**_MEMORY, "value": "RULE-20", "gradient": "RULE-21"},
    Op.MIRAS_SCAN: {**_MEMORY, "value": "MEM-2"},
    Op.MUGROKFAST_STEP: {"value": "OPT-9"},
    Op.MUON_STEP: {"value": "OPT-1"},
    Op.NEWTON_SCHULZ: {"value": "NS-1", "rows": "NS-9", "gradient": "NS-8"},
    Op.OPTIMIZER_STEP: {"value": "GAIN-1"},
    Op.PERP_GRAD: {"value": "OPT-5 OPT-6"},
    Op.POLYNOMIAL_FEATURES: {"value": "FEAT-2 FEAT-4 FEAT-5", "rows": "FEAT-9", "gradient": "FEAT-8"},
    Op.QK_CLIP: {"value": "OPT-7"},
    Op.QK_CLIP_IN_SIGHT: {"value": "OPT-10"},
    Op.QK_GATE: {"value": "QK-10"},
    Op.QK_PROJECTION: {"value": "QK-1 QK-2", "state": "QK-4", "hidden": "QK-3", "rows": "QK-6", "gradient": "QK-9"},
    Op.RIDGE_SCAN: {
        "value": "RULE-14",
        "state": "RULE-23",
        "hidden": "RULE-22",
        "rows": "RULE-23",
        "gradient": "RULE-24",
    },
    Op.SUPERVISED_LOSS: {"value": "TRM-7", "rows": "TRM-7", "gradient": "TRM-7"},
    Op.TRM_RECURSION: {
        "value": "TRM-1 TRM-2 TRM-3",
        "hidden": "TRM-4",
        "rows": "TRM-6",
        "gradient": "TRM-5",
    },
    Op.SHORT_CONV: {"value": "CONV-1", "state": "CONV-3", "hidden": "CONV-2", "rows": "CONV-5", "gradient": "CONV-6"},
    Op.SLIDING_WINDOW_ATTENTION: {
        "value": "ATT-1",
        "state": "ATT-5",
        "hidden": "ATT-3",
        "rows": "ATT-7",
        "gradient": "ATT-8",
    },
    Op.SLOT_MEMORY: {
        "value": "SLOT-1 SLOT-2 SLOT-3 SLOT-4 SLOT-5",
        "state": "SLOT-7",
        "hidden": "SLOT-6",
        "rows": "SLOT-8",
        "gradient": "SLOT-9",
    },
    Op.STABLEMAX: {"value": "STAB-1", "rows": "STAB-5", "gradient": "STAB-4"},
    Op.STABLEMAX_LOSS: {"value": "STAB-6 STAB-7", "rows": "STAB-7", "gradient": "STAB-6"},
    Op.TRAIN_STEPS: {"value": "STEP-1 STEP-2 STEP-3", "state": "STEP-5", "rows": "STEP-5", "gradient": "STEP-4"},
}
"""Sentences by operation and aspect; an aspect without its own is part of the value."""


def forbidden_by(row: Operation, aspect: str) -> tuple[str, ...]:
    """Return the sentences that a fault of this aspect breaks; how numbers are rounded is said of every call."""
    if aspect in ("precision", "rounding"):
        return PRECISION
    if row.op not in FORBIDDEN:
        return ()
    aspects = FORBIDDEN[row.op]
    return tuple(aspects.get(aspect, aspects["value"]).split())

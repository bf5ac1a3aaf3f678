"""docs/spec/mag_gate.md in numpy, entry by entry."""

from collections.abc import Mapping
from typing import Final

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def gate(kind: str, attention: Array, memory: Array, logits: Array, floor: float) -> tuple[Array, Array]:
    """Return the gate and the joined values, entry by entry."""
    if kind == "product":
        return attention, attention * memory
    raw = {"source": attention, "gated_attention": memory}.get(kind, logits)
    share = floor + (1.0 - floor) * sigmoid(raw)
    if kind == "convex":
        return share, share * attention + (1.0 - share) * memory
    if kind == "convex_memory":
        return share, share * memory + (1.0 - share) * attention
    return share, share * (memory if kind == "source" else attention)


def _mag_gate(config: Config, x: Arrays, _: Sums) -> Arrays:
    share, joined = gate(str(config["kind"]), x["attention"], x["memory"], x["logits"], float(config["floor"]))
    return {"gate": share, "joined": joined}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MAG_GATE: _mag_gate}

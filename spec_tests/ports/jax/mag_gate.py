"""The gate that joins attention and memory in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _mag_gate(kind: Hashable, floor: Array, x: Tensors) -> Tensors:
    if kind == "product":
        return {"gate": x["attention"], "joined": x["attention"] * x["memory"]}
    below = {"source": "attention", "gated_attention": "memory"}.get(str(kind), "logits")
    gate = floor + (1.0 - floor) * jax.nn.sigmoid(x[below])
    if kind == "convex_memory":
        return {"gate": gate, "joined": gate * x["memory"] + (1.0 - gate) * x["attention"]}
    if kind != "convex":
        return {"gate": gate, "joined": gate * x["memory" if kind == "source" else "attention"]}
    return {"gate": gate, "joined": gate * x["attention"] + (1.0 - gate) * x["memory"]}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.MAG_GATE: Implementation(_mag_gate, lambda config, *_: (config["kind"], config["floor"]))
}

"""The gate that joins attention and memory in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _mag_gate(kind: Hashable, floor: Array, x: Tensors) -> Tensors:
    raw = x["attention"] if kind == "source" else x["logits"]
    gate = floor + (1.0 - floor) * jax.nn.sigmoid(raw)
    if kind == "source":
        return {"gate": gate, "joined": gate * x["memory"]}
    return {"gate": gate, "joined": gate * x["attention"] + (1.0 - gate) * x["memory"]}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.MAG_GATE: Implementation(_mag_gate, lambda config, *_: (config["kind"], config["floor"]))
}

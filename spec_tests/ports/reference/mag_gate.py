"""The gate that joins attention and memory, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.mag_gate import WITH_LOGITS, mag_gate
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _mag_gate(config: Config, x: Tensors) -> Tensors:
    logits = x["logits"] if config["kind"] in WITH_LOGITS else None
    found = mag_gate(config["kind"], x["attention"], x["memory"], logits, config["floor"])
    return {"gate": found.gate, "joined": found.joined}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MAG_GATE: _mag_gate}

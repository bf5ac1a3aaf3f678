"""The memory of slots, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.slot_memory import slot_memory
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _slot_memory(config: Config, x: Tensors) -> Tensors:
    found = slot_memory(x["x"], x["slots"], x["read_at"], x["position"], config["threshold"])
    return {"novelty": found.novelty, "read_at": found.read_at, "slots": found.slots, "y": found.reads}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.SLOT_MEMORY: _slot_memory}

"""What is told of a memory, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.telemetry import (
    change_of_memory,
    gate_statistics,
    size_of_matrices,
    size_of_reads,
    tanh_statistics,
)
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors

ACTING: Final = ("mean", "deviation", "least", "largest")
"""What is told of the raw gate under names of their own, of the gate that acts under these."""


def _memory_telemetry(config: Config, x: Tensors) -> Tensors:
    time = x["reads"].shape[1]
    change = change_of_memory(x["before"], x["after"], x["initial"], x["lengths"], time, config["shard"])
    of_memory = {"memory_norm": x["after"], "momentum_norm": x["momentum"], "update": change}
    gate = gate_statistics(x["raw"], x["floor"].unsqueeze(-1))._asdict()
    tanh = zip(("argument", "linear", "saturated"), tanh_statistics(x["bounded"]), strict=True)
    return {
        **{name: size_of_matrices([matrices]) for name, matrices in of_memory.items()},
        "read_norm": size_of_reads(x["reads"]),
        **{f"gate_{name}" if name in ACTING else name: value for name, value in gate.items()},
        **dict(tanh),
    }


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_TELEMETRY: _memory_telemetry}

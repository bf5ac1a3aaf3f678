"""Halting, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.act import act_halt
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _act_halt(config: Config, x: Tensors) -> Tensors:
    halt = act_halt(x["probabilities"], config["threshold"])
    return {"halted": halt.steps, "weights": halt.weights, "ponder": halt.ponder}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.ACT_HALT: _act_halt}

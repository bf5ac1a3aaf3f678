"""Halting that is learned, by the reference."""

from collections.abc import Mapping
from typing import Final

import torch

from atlas_ref.functional.supervision import first_halt, halt_loss
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _halt_loss(config: Config, x: Tensors) -> Tensors:
    halted = first_halt(torch.sigmoid(x["logits"]), config["threshold"])
    made = torch.maximum(halted, x["least"])
    return {"halted": halted, "losses": halt_loss(x["logits"], x["correct"] == 1, made)}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.HALT_LOSS: _halt_loss}

"""AdamW on a learned gain, by the reference."""

from collections.abc import Mapping
from typing import Final

import torch

from atlas_ref.functional.gain import effective_gain
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _optimizer_step(config: Config, x: Tensors) -> Tensors:
    parameter = torch.nn.Parameter(x["log_gain"].clone())
    optimiser = torch.optim.AdamW(
        [parameter],
        lr=config["learning_rate"],
        betas=(config["beta1"], config["beta2"]),
        eps=config["eps"],
        weight_decay=config["weight_decay"],
    )
    gains = []
    for gradient in x["gradient"]:
        parameter.grad = gradient
        optimiser.step()
        gains.append(effective_gain(parameter.detach()))
    return {"gain": torch.stack(gains)}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.OPTIMIZER_STEP: _optimizer_step}

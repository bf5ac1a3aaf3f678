"""The floor under a gate, by the reference."""

from collections.abc import Mapping
from typing import Final

import torch

from atlas_ref.functional.gate_floor import collapse_risk, floor_over, stepped_floor
from atlas_ref.functional.mag_gate import mag_gate
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _gate_floor(config: Config, x: Tensors) -> Tensors:
    # Floors are numbers to the model; here each has a derivative.
    before, last = x["before"].unbind(), x["own"].new_tensor(config["last"])
    schedule = stepped_floor(config["step"], x["until"].tolist(), before, last)
    floor, raw = floor_over(x["own"], schedule), x["raw"]
    # The gate of the model is made of a logit; here it is given, and goes in as that of its logit.
    gate = mag_gate("convex_memory", raw, raw, torch.logit(raw), floor.unsqueeze(-1)).gate
    risk = torch.stack([collapse_risk(row, least) for row, least in zip(raw, floor.unsqueeze(-1), strict=True)])
    return {"floor": floor, "gate": gate, "risk": risk}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.GATE_FLOOR: _gate_floor}

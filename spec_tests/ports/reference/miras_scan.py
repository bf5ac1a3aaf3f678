"""The recurrence with the axes of MIRAS, by the reference."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.link import linked
from atlas_ref.memory.recurrent import memory_recurrent, window_gradient
from atlas_ref.memory.rules import retained, write_coefficients
from spec_tests.port import Op
from spec_tests.ports.reference.memory import STATE, pack
from spec_tests.ports.reference.miras import EACH_TOKEN, gates, miras, miras_rule, unpack
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def traces(config: Config, x: Tensors) -> Tensors:
    """Return the gradient each write takes in and what it leaves, by calls of one token each."""
    shown: dict[str, list[Tensor]] = {"gradient": [], "momentum_trace": [], "weights_trace": []}
    state = {name: x[name] for name in STATE}
    for t in range(x["keys"].shape[1]):
        token = {name: x[name][:, t : t + 1] for name in EACH_TOKEN}
        outputs = miras(memory_recurrent, config, x | state | token)
        shown["gradient"].append(_gradient(config, state | token, outputs))
        shown["momentum_trace"].append(outputs["momentum"])
        shown["weights_trace"].append(outputs["weights"])
        state = {name: outputs[name] for name in STATE}
    empty = x["weights"].unsqueeze(1)[:, :0]
    return {name: torch.stack(values, 1) if values else empty for name, values in shown.items()}


def _gradient(config: Config, x: Tensors, outputs: Tensors) -> Tensor:
    """Return g of one token, as the recurrence forms it."""
    rule = miras_rule(config)
    if rule.algorithm == "implicit":
        # A rule without momentum returns g as its S.
        return outputs["momentum"]
    keys, values = (torch.cat([x[f"window_{name}"], at_least_float32(x[name])], 1) for name in ("keys", "values"))
    write = write_coefficients(rule, gates(rule, x), (outputs["position"] - 1).unsqueeze(1)).at(0)
    place = unpack(rule.architecture, outputs["anchor"], keys.shape[-1], values.shape[-1])
    if rule.at_retained:
        place = retained(rule, write.retention, place)
    weights = tuple(linked(rule.link, matrix) for matrix in place)
    return pack(window_gradient(rule, weights, keys, values, write.window, write.threshold))


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MIRAS_SCAN: partial(miras, memory_recurrent)}
TAPS: Final[Mapping[Op, Function]] = {Op.MIRAS_SCAN: traces}

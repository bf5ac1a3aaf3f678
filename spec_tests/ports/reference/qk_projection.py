"""The Q-K projection and its gate, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.qk_projection import frobenius_tanh, qk_project
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _qk_projection(_: Config, x: Tensors) -> Tensors:
    projected, carry, frobenius = qk_project(x["queries"], x["keys"], x["carry"], x["position"])
    return {"projected": projected, "carry": carry, "frobenius": frobenius}


def _qk_gate(_: Config, x: Tensors) -> Tensors:
    return {"gated": frobenius_tanh(x["projected"], x["frobenius"], x["log_gain"], x["scale"])}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.QK_PROJECTION: _qk_projection, Op.QK_GATE: _qk_gate}

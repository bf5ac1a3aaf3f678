"""Grokking, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.metrics.grokking_phases import History, concentration_null, grokking_phases
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _concentration_null(config: Config, x: Tensors) -> Tensors:
    return {"null": concentration_null(x["embedding"], x["permutations"], config["top"])}


def _grokking_phases(config: Config, x: Tensors) -> Tensors:
    return {"phase": grokking_phases(History(**x), config["judge"])}


FUNCTIONS: Final[Mapping[Op, Function]] = {
    Op.CONCENTRATION_NULL: _concentration_null,
    Op.GROKKING_PHASES: _grokking_phases,
}

"""StableMax, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.stablemax import stablemax
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _stablemax(_: Config, x: Tensors) -> Tensors:
    return {"probabilities": stablemax(x["x"])}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.STABLEMAX: _stablemax}

"""Newton-Schulz, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.newton_schulz import newton_schulz
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _newton_schulz(config: Config, x: Tensors) -> Tensors:
    steps, coefficients, start = config["steps"], config["coefficients"], config["start"]
    return {"orthogonal": newton_schulz(x["matrix"], steps, coefficients, start=start)}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.NEWTON_SCHULZ: _newton_schulz}

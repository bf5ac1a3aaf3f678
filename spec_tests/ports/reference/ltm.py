"""The running mean, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.ltm import ltm_scan
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _ltm_scan(config: Config, x: Tensors) -> Tensors:
    y, carry = ltm_scan(x["x"], x["carry"], x["position"], config["decay"])
    return {"y": y, "carry": carry}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.LTM_SCAN: _ltm_scan}

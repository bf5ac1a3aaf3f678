"""Normalisation, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.normalize import l2_normalize
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _l2_normalize(config: Config, x: Tensors) -> Tensors:
    return {"y": l2_normalize(x["x"], config["eps"])}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.L2_NORMALIZE: _l2_normalize}

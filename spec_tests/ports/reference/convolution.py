"""The short convolution, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.convolution import short_convolution
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _short_conv(_: Config, x: Tensors) -> Tensors:
    y, tail = short_convolution(x["x"], x["weight"], x["tail"], x["position"])
    return {"y": y, "tail": tail}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.SHORT_CONV: _short_conv}

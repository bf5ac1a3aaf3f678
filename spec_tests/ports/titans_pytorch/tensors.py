"""What the parts of the adapter share."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor

from spec_tests.port import UnsupportedError

Tensors = dict[str, Tensor]
Config = Mapping[str, Any]


COEFFICIENTS: Final = {"quintic": (3.4445, -4.7750, 2.0315), "cubic": (1.5, -0.5, 0.0)}
"""The sets that are one triple for all steps, which is what `newtonschulz5` takes."""


def demand(holds: bool, reason: str, capability: str) -> None:
    if not holds:
        raise UnsupportedError(reason, capability=capability)


Function = Callable[[Config, Tensors], Tensors]

"""What every function of the reference port takes and returns."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Tensors = dict[str, Tensor]
Config = Mapping[str, Any]
Function = Callable[[Config, Tensors], Tensors]

"""Correct implementations on hardware that multiplies matrices in fewer digits, for the profiles named after it.

`bf16_inside`: what happens in an iteration of products is rounded to bfloat16 after every operation, and products add
up in float32. `tf32`: the factors of every product have ten bits after the point. What stands around the iteration, the
momentum and the update of a weight, is float32 in both.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from atlas_ref.functional import newton_schulz as iteration
from atlas_ref.optim import muon
from spec_tests.oracle.sums import Order, Sums
from spec_tests.port import Array, Numerics, round_to_bf16

Rounding = Callable[[Array], Array]

PRODUCTS: Final = ("mm", "bmm", "addmm", "baddbmm")
"""Torch's products of matrices."""


def round_to_tf32(x: Array) -> Array:
    """Round to the nearest number with ten bits after the point, ties to even, and return it as float32."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000
    return rounded.astype(np.uint32).view(np.float32)


ROUNDED: Final[Mapping[Numerics, Rounding]] = {Numerics.BF16_INSIDE: round_to_bf16, Numerics.TF32: round_to_tf32}


class InsideSums(Sums):
    """Products of matrices as the profile has them, in any order of their terms."""

    def __init__(self, numerics: Numerics, order: Order) -> None:
        super().__init__(order)
        self._round = ROUNDED[numerics]
        self._whole = numerics is Numerics.BF16_INSIDE

    def matmul(self, left: Array, right: Array) -> Array:
        """Return the product of rounded matrices, rounded itself where the profile keeps no more digits."""
        product = super().matmul(self._round(left), self._round(right))
        return self._round(product) if self._whole else product


def _mode(numerics: Numerics) -> AbstractContextManager[None]:
    """Return a mode in which torch rounds what every operation returns, or what every product takes."""
    whole, nearest = numerics is Numerics.BF16_INSIDE, ROUNDED[numerics]

    def rounded(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        return torch.from_numpy(nearest(value.detach().numpy()))

    def dispatch(_: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if whole:
            return tree_map(rounded, func(*args, **(kwargs or {})))
        product = func.overloadpacket.__name__ in PRODUCTS
        return func(*(tree_map(rounded, args) if product else args), **(kwargs or {}))

    mode: AbstractContextManager[None] = type("_Mode", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})()
    return mode


def computing_inside(numerics: Numerics) -> ExitStack:
    """Return what makes the reference's iterations compute as the profile says while it is entered."""
    plain = iteration.newton_schulz

    def inside(*args: Any, **kwargs: Any) -> torch.Tensor:
        with _mode(numerics):
            return plain(*args, **kwargs)

    stack = ExitStack()
    if numerics in ROUNDED:
        for module in (muon, _port()):
            stack.enter_context(patch.object(module, "newton_schulz", inside))
    return stack


def _port() -> Any:
    from spec_tests.ports.reference import newton_schulz

    return newton_schulz


def sums_in(numerics: Numerics, order: Order) -> Sums:
    """Return sums in an order, whose products are those of the profile."""
    return InsideSums(numerics, order) if numerics in ROUNDED else Sums(order)

"""What kernels of a memory are given and what they answer, whichever of them runs (`memory.kernels.choice`)."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import Carry, MemoryState


class Asked(NamedTuple):
    """What a call shows the memory."""

    keys: Float[Tensor, "batch time heads features"]
    values: Float[Tensor, "batch time heads values"]
    queries: Float[Tensor, "batch time heads features"]


class MemoryCall(NamedTuple):
    """A call of a memory, as every run is given it; `measured` asks for squared errors."""

    rule: MemoryRule
    plan: SegmentPlan
    asked: Asked
    write: WriteCoefficients
    start: Start
    state: MemoryState
    measured: bool


Ran = tuple[Tensor, Carry, Tensor | None]
"""Reads [batch, time, heads, values], the state after the call, and squared errors of all slots, or none."""
Run = Callable[[MemoryCall], Ran]


class Widths(NamedTuple):
    """Heads of queries, of keys and of values, their widths, and the length that enters under the root of a norm."""

    heads: int
    key: int
    value: int
    eps: float

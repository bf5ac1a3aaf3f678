"""What attention by kernels is given beside what was projected, which is there without Triton too."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Past(NamedTuple):
    """The last window - 1 keys and values before a call."""

    keys: Float[Tensor, "batch past heads dim"]
    values: Float[Tensor, "batch past heads dim"]


class Shape(NamedTuple):
    """Heads and their width, and the window: a query sees itself and window - 1 tokens before it."""

    heads: int
    dim: int
    window: int

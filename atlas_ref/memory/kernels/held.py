"""What the kernels of a linear memory hand to each other: borders of segments, what enters them, what is held."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Borders(NamedTuple):
    """Which rows begin a document and which take a new anchor at the start of each segment."""

    resets: Int[Tensor, "segments batch"]
    opens: Int[Tensor, "segments batch"]
    always: bool
    """whether every segment opens in every row, so that the anchor is M itself"""


class Entered(NamedTuple):
    """What every segment enters with; the anchors are None where they are the weights."""

    weights: Float[Tensor, "segments batch heads values features"]
    momentum: Float[Tensor, "segments batch heads values features"]
    anchors: Float[Tensor, "segments batch heads values features"] | None


class Held(NamedTuple):
    """M, S and the anchor of every row."""

    weights: Float[Tensor, "batch heads values features"]
    momentum: Float[Tensor, "batch heads values features"]
    anchor: Float[Tensor, "batch heads values features"]

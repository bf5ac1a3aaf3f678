"""What the kernels of the MLP memory hand to each other: both matrices, and M and S at the borders of segments."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.memory.kernels.held import Sizes
from atlas_ref.memory.kernels.launching import precision, tile

BLOCK = 32
"""Hidden units that a program holds at once."""
LAUNCH: Final = {"num_warps": 8, "num_stages": 1}
"""A program has 256 threads: tiles of 64 x 64 that all of a segment adds to are held between them."""


class Layers(NamedTuple):
    """W1 and W2 of each memory, or what belongs to them."""

    outer: Float[Tensor, "*memories values hidden"]
    inner: Float[Tensor, "*memories hidden features"]


class States(NamedTuple):
    """M and S where segments begin and the last one ends. Slot n + 1 of M, and n of S, is what segment n enters with.

    Slot 0 of M is the anchor before the call.
    """

    m: Layers
    s: Layers


class Where(NamedTuple):
    """Where segments lie (`held.Borders`), and which segment each one has its anchor from; -1: from before the call."""

    table: Int[Tensor, "5 segments batch"]
    opened: Int[Tensor, "segments batch"]


def where_of(table: Int[Tensor, "5 segments batch"]) -> Where:
    """Return where segments lie and which one opened last, in each row (derived)."""
    number = torch.arange(table.shape[1], dtype=table.dtype, device=table.device)[:, None]
    opened = torch.where(table[4] != 0, number, -1).cummax(0).values
    return Where(table.contiguous(), opened.contiguous())


def empty_states(sizes: Sizes, layers: Layers) -> States:
    """Return states without numbers, for layers [batch, heads, ., .]."""
    m, s = (Layers(*(x.new_empty(sizes.segments + n, *x.shape) for x in layers)) for n in (2, 1))
    return States(m, s)


def of_kernels(sizes: Sizes, hidden: int) -> tuple[int | bool | str, ...]:
    """Return what both kernels take, in their order."""
    extents = (sizes.segments, sizes.batch, sizes.heads, sizes.time, sizes.tokens)
    widths = (sizes.features, sizes.values, hidden)
    tiles = (tile(sizes.tokens), tile(sizes.features), tile(sizes.values), min(tile(hidden), BLOCK))
    return (*extents, *widths, *tiles, sizes.before, sizes.normalised, precision())

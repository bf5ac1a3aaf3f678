"""What the programs of a pass left each for itself, added up: some columns a program, rows in one order."""

from typing import Final

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.kernels.launching import compiled

HEIGHT: Final = 256
WIDTH: Final = 16
"""Sides of a tile: a program has few columns, so that there are many programs, and many rows at once."""


@compiled
def _summed(
    parts: tl.tensor,
    out: tl.tensor,
    ROWS: tl.tensor,
    COLUMNS: tl.tensor,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    column, row = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH), tl.arange(0, HEIGHT)
    held, stack = column < COLUMNS, tl.program_id(1).to(tl.int64)
    first = parts + stack * ROWS * COLUMNS
    found = tl.zeros([HEIGHT, WIDTH], tl.float32)
    for begin in range(0, ROWS, HEIGHT):
        there = (begin + row < ROWS)[:, None] & held[None, :]
        found += tl.load(first + (begin + row)[:, None] * COLUMNS + column[None, :], mask=there, other=0.0)
    tl.store(out + stack * COLUMNS + column, tl.sum(found, 0), mask=held)


def summed(parts: Float[Tensor, "stacks rows columns"]) -> Float[Tensor, "stacks columns"]:
    """Return the sum of the rows of each stack, which lie one behind the other in float32."""
    stacks, rows, columns = parts.shape
    out = torch.empty(stacks, columns, dtype=parts.dtype, device=parts.device)
    if out.numel():
        _summed[(-(-columns // WIDTH), stacks)](parts, out, rows, columns, HEIGHT, WIDTH, num_warps=8)
    return out

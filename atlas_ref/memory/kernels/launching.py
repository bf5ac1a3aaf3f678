"""What every kernel here shares: how it is compiled, how its tiles are cut, and in what precision it multiplies.

A tile is a power of two, as Triton asks, and at least 16 where a matrix product takes it; what lies beyond the data is
read as zero and never written.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, Final, Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

Precision = Literal["tf32x3", "tf32"]
LAUNCH: Final = {"num_warps": 4, "num_stages": 1}
"""A program has 128 threads and loads nothing ahead: tiles of 64 x 64 would fill the shared memory several times."""
COUNTED: Final = frozenset({"SEGMENTS", "BATCH", "HEADS", "TIME", "REACH", "FIRST", "SHIFT"})
LEAST: Final = 16
"""Rows and columns that a matrix product of Triton has at least."""


def compiled(kernel: Callable[..., object]) -> Any:
    """Return a kernel as Triton compiles it, or interprets it where TRITON_INTERPRET is set.

    For what it counts, COUNTED, one form serves all numbers. Raises TypeError where that is a constant of the kernel.
    """
    parameters = signature(kernel).parameters
    counted = [name for name in parameters if name in COUNTED]
    if constant := [name for name in counted if parameters[name].annotation is tl.constexpr]:
        raise TypeError(f"{kernel.__name__}: {constant[0]} is counted, and so no constant")
    return triton.jit(kernel, do_not_specialize=counted)


@compiled
def block_of(TIME: tl.tensor, TILE: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return the row of the batch that a program has, and the first token of its block of TILE: the first axis of the
    grid goes over the blocks of all rows.
    """
    blocks = tl.cdiv(TIME, TILE)
    return tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * TILE


@compiled
def loaded(matrix: tl.tensor, row: tl.tensor, column: tl.tensor, there: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    """Return rows of a matrix as a tile, zero where a row is not `there` or a column beyond WIDTH.

    Rows are counted from where `matrix` points to, so that their numbers need no more than 32 bits.
    """
    mask = there[:, None] & (column < WIDTH)[None, :]
    return tl.load(matrix + row[:, None] * WIDTH + column[None, :], mask=mask, other=0.0)


@compiled
def stored(
    matrix: tl.tensor, row: tl.tensor, column: tl.tensor, there: tl.tensor, value: tl.tensor, WIDTH: tl.constexpr
) -> None:
    """Write a tile to the rows of a matrix that are `there`."""
    mask = there[:, None] & (column < WIDTH)[None, :]
    tl.store(matrix + row[:, None] * WIDTH + column[None, :], value, mask=mask)


@compiled
def rounded(x: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return x of float32 as a product takes it: to the nearest number of tf32, off which the chip would cut bits.

    Four operations for each number, which a product of small tiles feels: what several products take is rounded once.
    """
    if PRECISION == "tf32":
        bits = (x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
        # A NaN of all ones would become a zero.
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x


@compiled
def factor(x: tl.tensor, source: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return x of float32, which was read from `source`, `rounded`; numbers of 16 bits are as they should be."""
    if source.dtype.element_ty == tl.float32:
        x = rounded(x, PRECISION)
    return x


@compiled
def product(a: tl.tensor, b: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return the product in PRECISION of two tiles of float32 that are `rounded`."""
    return tl.dot(a, b, input_precision=PRECISION)


@compiled
def multiplied(a: tl.tensor, b: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return the product in PRECISION of two tiles of float32, whatever they are."""
    return product(rounded(a, PRECISION), rounded(b, PRECISION), PRECISION)


def tile(size: int) -> int:
    """Return the side of the tile that holds `size` numbers."""
    return max(LEAST, 1 << (size - 1).bit_length())


def precision() -> Precision:
    """Return what `torch.set_float32_matmul_precision` asks of a product of float32: three of tf32 are as exact."""
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def dense(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors as a kernel reads them: contiguous float32."""
    return tuple(x.float().contiguous() for x in tensors)

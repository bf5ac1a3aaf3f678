"""What dropout leaves on the chip, of pairs of attention and of components of tokens (`functional.dropout`)."""

import triton.language as tl
from torch import Tensor

from atlas_ref.functional.dropout import FIRST, SECOND, Drop, limit_of
from atlas_ref.memory.kernels.launching import compiled

FACTOR: tl.constexpr = tl.constexpr(FIRST)
LAST_FACTOR: tl.constexpr = tl.constexpr(SECOND)
"""Factors of the two rounds, as kernels take them."""


def drawing(drop: Drop | None, like: Tensor) -> tuple[Tensor, tuple[int, int, float]]:
    """Return what rows draw from, or any tensor; the first token, the limit, and the scale of what stays."""
    if drop is None:
        return like, (0, 0, 1.0)
    return drop.keys.contiguous(), (drop.first, limit_of(drop.rate), 1.0 / (1.0 - drop.rate))


@compiled
def mixed(x: tl.tensor, BITS: tl.constexpr, MASK: tl.constexpr, FACTOR: tl.constexpr) -> tl.tensor:
    """Return a round of `functional.dropout`, of signed numbers that stand for unsigned ones."""
    return (((x >> BITS) & MASK) ^ x) * FACTOR


@compiled
def mixed_stays(first: tl.tensor, second: tl.tensor, number: tl.tensor, LIMIT: tl.tensor) -> tl.tensor:
    """Return which places, which have a number each, dropout leaves in a row of these two numbers."""
    drawn = mixed(number + first, 16, 65535, FACTOR) ^ second
    return mixed(drawn, 15, 131071, LAST_FACTOR) >= LIMIT


@compiled
def pairs_stay(
    keys: tl.tensor,
    row: tl.tensor,
    head: tl.tensor,
    query: tl.tensor,
    other: tl.tensor,
    BEGIN: tl.tensor,
    HEADS: tl.tensor,
    LIMIT: tl.tensor,
    OTHERS: tl.constexpr,
) -> tl.tensor:
    """Return which pairs of each query with each `other` dropout leaves in a row of the batch.

    The others have numbers below OTHERS: of a persistent token, or behind those an age.
    """
    number = ((BEGIN + query) * HEADS + head)[:, None] * OTHERS + other
    return mixed_stays(tl.load(keys + 2 * row), tl.load(keys + 2 * row + 1), number, LIMIT)


@compiled
def places_stay(
    keys: tl.tensor,
    token: tl.tensor,
    there: tl.tensor,
    width: tl.tensor,
    TIME: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    DIM: tl.constexpr,
) -> tl.tensor:
    """Return which components of some tokens dropout leaves."""
    row = token // TIME
    first, second = tl.load(keys + 2 * row, mask=there, other=0), tl.load(keys + 2 * row + 1, mask=there, other=0)
    place = ((BEGIN + token % TIME) * DIM).to(tl.int32)[:, None] + width[None, :]
    return mixed_stays(first[:, None], second[:, None], place, LIMIT)

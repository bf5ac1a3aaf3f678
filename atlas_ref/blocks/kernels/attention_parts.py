"""What the kernels of attention share: tiles of keys, what is in sight, what is bad, what dropout leaves.

Tokens of the call are counted from 0; those before it, which the caches hold, from -(W-1) to -1.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled

FIRST: tl.constexpr = tl.constexpr(0x7FEB352D)
SECOND: tl.constexpr = tl.constexpr(0x846CA68B - 2**32)
"""Factors of the two rounds of `functional.dropout`."""


@compiled
def tokens_of(
    now: tl.tensor,
    old: tl.tensor,
    token: tl.tensor,
    width: tl.tensor,
    STRIDE: tl.tensor,
    CACHED: tl.tensor,
    TIME: tl.tensor,
    PAST: tl.constexpr,
    DIM: tl.constexpr,
) -> tl.tensor:
    """Return a head's keys or values of some tokens, of the call or of the cache; zero where there are none."""
    held = (width < DIM)[None, :]
    entry = token[:, None] * STRIDE + width[None, :]
    found = tl.load(now + entry, mask=((token >= 0) & (token < TIME))[:, None] & held, other=0.0)
    entry = (token + PAST)[:, None] * CACHED + width[None, :]
    before = tl.load(old + entry, mask=((token < 0) & (token >= -PAST))[:, None] & held, other=0.0)
    return found + before.to(found.dtype)


@compiled
def rows_of(
    matrix: tl.tensor, row: tl.tensor, there: tl.tensor, width: tl.tensor, STRIDE: tl.tensor, DIM: tl.constexpr
) -> tl.tensor:
    """Return rows of a matrix, zero where they are not `there`."""
    mask = there[:, None] & (width < DIM)[None, :]
    return tl.load(matrix + row[:, None] * STRIDE + width[None, :], mask=mask, other=0.0)


@compiled
def is_bad(x: tl.tensor) -> tl.tensor:
    """Return which rows hold something that is not finite."""
    finite = tl.abs(x.to(tl.float32)) < float("inf")
    return tl.max(tl.where(finite, 0, 1), 1) > 0


@compiled
def without(x: tl.tensor, bad: tl.tensor) -> tl.tensor:
    """Return x with zeros in the rows that are bad."""
    return tl.where(bad[:, None], 0.0, x).to(x.dtype)


@compiled
def in_sight(query: tl.tensor, token: tl.tensor, place: tl.tensor, PAST: tl.constexpr) -> tl.tensor:
    """Return which tokens each query sees: of its document, not later than itself, and no more than PAST before."""
    age = query[:, None] - token[None, :]
    return (age >= 0) & (age <= PAST) & (age <= place[:, None])


@compiled
def mixed(x: tl.tensor, BITS: tl.constexpr, MASK: tl.constexpr, FACTOR: tl.constexpr) -> tl.tensor:
    """Return a round of `functional.dropout`, of signed numbers that stand for unsigned ones."""
    return (((x >> BITS) & MASK) ^ x) * FACTOR


@compiled
def mixed_stays(first: tl.tensor, second: tl.tensor, number: tl.tensor, LIMIT: tl.tensor) -> tl.tensor:
    """Return which places, which have a number each, dropout leaves in a row of these two numbers."""
    drawn = mixed(number + first, 16, 65535, FIRST) ^ second
    return mixed(drawn, 15, 131071, SECOND) >= LIMIT


@compiled
def stays(keys: tl.tensor, row: tl.tensor, number: tl.tensor, LIMIT: tl.tensor) -> tl.tensor:
    """Return which pairs, which have a number each, dropout leaves in a row of the batch."""
    return mixed_stays(tl.load(keys + 2 * row), tl.load(keys + 2 * row + 1), number, LIMIT)


@compiled
def pair_number(
    query: tl.tensor,
    other: tl.tensor,
    head: tl.tensor,
    BEGIN: tl.tensor,
    HEADS: tl.tensor,
    PERSISTENT: tl.constexpr,
    PAST: tl.constexpr,
) -> tl.tensor:
    """Return the number of each query with each `other`: a persistent token, or behind those an age."""
    return ((BEGIN + query) * HEADS + head)[:, None] * (PERSISTENT + PAST + 1) + other

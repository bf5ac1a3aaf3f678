"""What the kernels of attention share: tiles of queries and keys, what is in sight, what is bad, and the way back.

Tokens of the call are counted from 0; those before it, which the caches hold, from -(W-1) to -1.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled


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
def without_bad(keys: tl.tensor, values: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return keys and values with zeros where one of both is bad, and where that is."""
    bad = is_bad(keys) | is_bad(values)
    return without(keys, bad), without(values, bad), bad


@compiled
def answered(
    q: tl.tensor,
    d_out: tl.tensor,
    logs: tl.tensor,
    query: tl.tensor,
    there: tl.tensor,
    width: tl.tensor,
    TURNED: tl.tensor,
    OUT: tl.tensor,
    DIM: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return queries and gradients of outputs, zero where an output is NaN or not there; L, and which are sound.

    A row of q has TURNED numbers, one of the outputs OUT.
    """
    length = tl.load(logs + query, mask=there, other=float("inf"))
    sound = length < float("inf")
    asked = rows_of(q, query, sound, width, TURNED, DIM)
    return asked, rows_of(d_out, query, sound, width, OUT, DIM).to(asked.dtype), length, sound


@compiled
def through_pairs(
    asked: tl.tensor,
    given: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    sight: tl.tensor,
    length: tl.tensor,
    SCALE: tl.tensor,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return p of each query with each key in sight, zero of the others, and do . v (`attention_kernels`)."""
    logits = tl.dot(asked, tl.trans(keys), input_precision=PRECISION) * SCALE
    weights = tl.where(sight, tl.exp(logits - length[:, None]), 0.0)
    return weights, tl.dot(given, tl.trans(values), input_precision=PRECISION)

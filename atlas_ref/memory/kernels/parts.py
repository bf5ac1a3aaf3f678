"""What several kernels of a linear memory compute of a segment: where it lies, its pairs, their shares, rows of W."""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, factor, loaded


@compiled
def segment(
    borders: tl.tensor, mark: tl.tensor, MARKS: tl.tensor, PAST: tl.constexpr, CHUNK: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the first token of a segment, how many it has, and how many tokens before it are in sight.

    Those of its document, or where CHUNK is not 0 of its chunk, and no more than PAST.
    """
    position = tl.load(borders + 2 * MARKS + mark)
    if CHUNK > 0:
        position = position % CHUNK
    return tl.load(borders + mark), tl.load(borders + MARKS + mark), tl.minimum(position, PAST)


@compiled
def located(
    borders: tl.tensor,
    at: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    PAST: tl.constexpr,
    CHUNK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return where program `at` of a segment, row and head is: its row and head, what `segment` says of the segment,
    and the place of its first token among all tokens and heads of the call.
    """
    mark, head = at // HEADS, at % HEADS
    row = mark % BATCH
    start, length, before = segment(borders, mark, SEGMENTS * BATCH, PAST, CHUNK)
    return row, head, start, length, before, (row * TIME + start) * HEADS + head


@compiled
def part_of(
    PART: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    PAST_TILE: tl.constexpr,
    length: tl.tensor,
    before: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return slots of a segment, which of them there are, and which of these are in sight: its own (0), its window (1).

    Both have tiles of their own, so that a short window before a full segment does not double all of them.
    """
    if PART == 0:
        own = tl.arange(0, TOKEN_TILE)
        slot, held, sight = own + PAST, own < TOKENS, own < length
    else:
        slot = tl.arange(0, PAST_TILE)
        held, sight = slot < PAST, (slot >= PAST - before) & (slot < PAST)
    return slot, held, sight


@compiled
def near(
    now: tl.tensor,
    old: tl.tensor,
    row: tl.tensor,
    head: tl.tensor,
    start: tl.tensor,
    slot: tl.tensor,
    sight: tl.tensor,
    column: tl.tensor,
    TIME: tl.tensor,
    HEADS: tl.tensor,
    PAST: tl.constexpr,
    WIDTH: tl.constexpr,
    PART: tl.constexpr,
) -> tl.tensor:
    """Return what slots of a segment hold as a tile of float32: tokens of the call, or of those before it, `old`."""
    token = start + slot - PAST
    first = now + ((row * TIME + start - PAST) * HEADS + head) * WIDTH
    found = loaded(first, slot * HEADS, column, sight & (token >= 0), WIDTH).to(tl.float32)
    if PART == 1:
        first = old + ((row * PAST + start) * HEADS + head) * WIDTH
        found += loaded(first, slot * HEADS, column, sight & (token < 0), WIDTH).to(tl.float32)
    return found


@compiled
def factor_near(x: tl.tensor, now: tl.tensor, old: tl.tensor, PART: tl.constexpr, PRECISION: tl.constexpr) -> tl.tensor:
    """Return what `near` found as a `factor` of products."""
    x = factor(x, now, PRECISION)
    if PART == 1:
        x = factor(x, old, PRECISION)
    return x


@compiled
def some_of(
    matrix: tl.tensor, row: tl.tensor, column: tl.tensor, there: tl.tensor, held: tl.tensor, WIDTH: tl.tensor
) -> tl.tensor:
    """Return columns of some rows of a matrix as a tile, zero where a row is not `there` or a column not `held`."""
    return tl.load(matrix + row[:, None] * WIDTH + column[None, :], mask=there[:, None] & held[None, :], other=0.0)


@compiled
def share_of(kappa: tl.tensor, NORMALISED: tl.constexpr) -> tl.tensor:
    """Return r = 1 / max(1, kappa) with kappa = ||k||^2, or 1 where the rule does not divide (`factors`)."""
    share = kappa * 0.0 + 1.0
    if NORMALISED:
        share = 1.0 / tl.maximum(kappa, 1.0)
    return share


@compiled
def mixed(from_s: tl.tensor, from_m: tl.tensor, t: tl.tensor, rows: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return W[t, S] and W[t, M] of the rows that `t` names, where they are; row -1 is that of M alone."""
    known = rows & (t >= 0)
    return tl.load(from_s + t, mask=known, other=0.0), tl.load(from_m + t, mask=known, other=1.0)

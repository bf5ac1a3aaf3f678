"""Statistics of gates in two passes: of each tile of them, and of all tiles together, in one order.

    mean       sum_i s_i / N                       s_i the sum of tile i, n_i the number of its gates, N of all
    deviation  (sum_i (q_i + n_i (s_i / n_i - mean)^2) / N)^{1/2}            q_i the squares about the mean of the tile

The tiles are in float32, what is made of them in float64, and rounded once. Of the gates of a memory there are means
alone, to which some tokens after another add their share.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled


@compiled
def spread(
    raw: tl.tensor,
    floor: tl.tensor,
    parts: tl.tensor,
    COUNT: tl.tensor,
    FLOOR: tl.tensor,
    NEAR: tl.constexpr,
    FAR: tl.constexpr,
    MIDDLE: tl.constexpr,
    OWN: tl.constexpr,
    DIM: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Write of TILE gates: their sum, the squares about their mean, least, largest; how many are polarised, undecided,
    and low, which is less than NEAR above the floor, that of each token where it has its OWN.
    """
    entry = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    there = entry < COUNT
    gate = tl.load(raw + entry, mask=there, other=0.0)
    total, number = tl.sum(gate), tl.sum(tl.where(there, 1.0, 0.0))
    apart, distance = gate - total / number, tl.abs(gate - 0.5)
    bound = FLOOR + NEAR
    if OWN:
        bound = tl.load(floor + entry // DIM, mask=there, other=0.0) + NEAR
    # A sum that is NaN tells of one gate that is; the least of them need not.
    bad = (total - total) * 0.0
    out = parts + tl.program_id(0) * 7
    tl.store(out, total)
    tl.store(out + 1, tl.sum(tl.where(there, apart * apart, 0.0)))
    tl.store(out + 2, bad + tl.min(tl.where(there, gate, float("inf"))))
    tl.store(out + 3, bad + tl.max(tl.where(there, gate, float("-inf"))))
    tl.store(out + 4, tl.sum(tl.where(there & (distance > FAR), 1.0, 0.0)))
    tl.store(out + 5, tl.sum(tl.where(there & (distance < MIDDLE), 1.0, 0.0)))
    tl.store(out + 6, tl.sum(tl.where(there & (gate < bound), 1.0, 0.0)))


@compiled
def whole(
    parts: tl.tensor,
    out: tl.tensor,
    PARTS: tl.tensor,
    COUNT: tl.tensor,
    FLOOR: tl.tensor,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write of COUNT gates, from the PARTS that `spread` wrote of TILE gates each: mean, deviation, least and largest
    with the FLOOR under them, and without; the shares that are polarised, undecided and low.
    """
    row = tl.arange(0, ROWS)
    total, square = tl.zeros([ROWS], tl.float64), tl.zeros([ROWS], tl.float64)
    far, middle, low = tl.zeros([ROWS], tl.float64), tl.zeros([ROWS], tl.float64), tl.zeros([ROWS], tl.float64)
    least, largest = tl.full([ROWS], float("inf"), tl.float32), tl.full([ROWS], float("-inf"), tl.float32)
    for first in range(0, PARTS, ROWS):
        there, part = first + row < PARTS, parts + (first + row) * 7
        total += tl.load(part, mask=there, other=0.0).to(tl.float64)
        square += tl.load(part + 1, mask=there, other=0.0).to(tl.float64)
        least = tl.minimum(least, tl.load(part + 2, mask=there, other=float("inf")))
        largest = tl.maximum(largest, tl.load(part + 3, mask=there, other=float("-inf")))
        far += tl.load(part + 4, mask=there, other=0.0).to(tl.float64)
        middle += tl.load(part + 5, mask=there, other=0.0).to(tl.float64)
        low += tl.load(part + 6, mask=there, other=0.0).to(tl.float64)
    mean = tl.sum(total) / COUNT
    for first in range(0, PARTS, ROWS):
        there, part = first + row < PARTS, parts + (first + row) * 7
        number = tl.minimum(COUNT - (first + row).to(tl.int64) * TILE, TILE).to(tl.float64)
        apart = tl.load(part, mask=there, other=0.0).to(tl.float64) / number - mean
        square += tl.where(there, number * apart * apart, 0.0)
    deviation = tl.sqrt(tl.sum(square) / COUNT)
    # As in a tile: a least or largest of which one is NaN need not be.
    bad = (mean - mean) * 0.0
    lowest, highest = tl.min(least) + bad, tl.max(largest) + bad
    reach = 1.0 - FLOOR
    tl.store(out, FLOOR + reach * mean)
    tl.store(out + 1, reach * deviation)
    tl.store(out + 2, FLOOR + reach * lowest)
    tl.store(out + 3, FLOOR + reach * highest)
    tl.store(out + 4, mean)
    tl.store(out + 5, deviation)
    tl.store(out + 6, lowest)
    tl.store(out + 7, highest)
    tl.store(out + 8, tl.sum(far) / COUNT)
    tl.store(out + 9, tl.sum(middle) / COUNT)
    tl.store(out + 10, tl.sum(low) / COUNT)


@compiled
def means(
    retention: tl.tensor,
    momentum: tl.tensor,
    step: tl.tensor,
    window: tl.tensor,
    parts: tl.tensor,
    RETENTION: tl.tensor,
    MOMENTUM: tl.tensor,
    STEP: tl.tensor,
    OF_TOKEN: tl.tensor,
    OF_HEAD: tl.tensor,
    OF_AGE: tl.tensor,
    TOKENS: tl.tensor,
    HEADS: tl.tensor,
    AGES: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the share that ROWS tokens have in the means of the gates of a memory, whose tokens lie so far apart."""
    token, head = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    there = (token < TOKENS)[:, None] & (head < HEADS)[None, :]
    out, count = parts + tl.program_id(0) * 4, (TOKENS * HEADS).to(tl.float32)
    row, column = token[:, None], head[None, :]
    tl.store(out, tl.sum(tl.load(retention + row * RETENTION + column, mask=there, other=0.0)) / count)
    tl.store(out + 1, tl.sum(tl.load(momentum + row * MOMENTUM + column, mask=there, other=0.0)) / count)
    tl.store(out + 2, tl.sum(tl.load(step + row * STEP + column, mask=there, other=0.0)) / count)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for age in range(AGES):
        total += tl.load(window + row * OF_TOKEN + column * OF_HEAD + age * OF_AGE, mask=there, other=0.0)
    tl.store(out + 3, tl.sum(total) / (count * AGES))

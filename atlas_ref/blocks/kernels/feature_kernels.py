"""Polynomial features of the second degree, a vector a row: x itself, and the products of its entries.

    f_c = a_c x_i          or          f_c = a_c x_i x_j  of the pair i <= j that c stands for
    dx_i = a_i g_i + sum_j (1 + [i = j]) a_c g_c x_j over the c of the pairs of i

a is what stands before a product: the root of the coefficient, and the weight of the basis (`functional.polynomial`).
Gradients of the two roots are sums over all rows: each program leaves its part.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled


@compiled
def features(
    x: tl.tensor,
    roots: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    COUNT: tl.tensor,
    DIM: tl.constexpr,
    FEATURES: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Write TILE features of ROWS vectors; `left` and `right` are the entries of each product."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    feature = tl.program_id(1) * TILE + tl.arange(0, TILE)
    known, there = feature < FEATURES, row < COUNT
    mask = there[:, None] & known[None, :]
    first, second = tl.load(left + feature, mask=known, other=0), tl.load(right + feature, mask=known, other=0)
    factor = tl.load(weight + feature, mask=known, other=0.0)
    factor = factor * tl.load(roots + tl.where(feature < DIM, 0, 1))
    one = tl.load(x + row[:, None] * DIM + first[None, :], mask=mask, other=0.0).to(tl.float32)
    pairs = mask & (feature >= DIM)[None, :]
    other = tl.load(x + row[:, None] * DIM + second[None, :], mask=pairs, other=1.0).to(tl.float32)
    tl.store(out + row[:, None] * FEATURES + feature[None, :], one * other * factor[None, :], mask=mask)


@compiled
def features_back(
    x: tl.tensor,
    roots: tl.tensor,
    place: tl.tensor,
    weight: tl.tensor,
    d_out: tl.tensor,
    d_x: tl.tensor,
    d_roots: tl.tensor,
    COUNT: tl.tensor,
    DIM: tl.constexpr,
    FEATURES: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Write dx of ROWS vectors, and their part of the gradients of the roots.

    `place` has the feature of each pair of entries, in any order,
    and `weight` what stands before it, twice of a square.
    """
    row, entry = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    there, known = row < COUNT, entry < DIM
    mask = there[:, None] & known[None, :]
    given = tl.load(x + row[:, None] * DIM + entry[None, :], mask=mask, other=0.0).to(tl.float32)
    slope = tl.load(d_out + row[:, None] * FEATURES + entry[None, :], mask=mask, other=0.0).to(tl.float32)
    of_first = tl.sum(slope * given)
    found = tl.zeros([ROWS, WIDTH], tl.float32)
    for j in range(DIM):
        partner = tl.load(x + row * DIM + j, mask=there, other=0.0).to(tl.float32)
        at = tl.load(place + j * DIM + entry, mask=known, other=0)
        factor = tl.load(weight + j * DIM + entry, mask=known, other=0.0)
        pair = tl.load(d_out + row[:, None] * FEATURES + at[None, :], mask=mask, other=0.0).to(tl.float32)
        found += pair * factor[None, :] * partner[:, None]
    # Every product is counted from both of its entries.
    of_second = 0.5 * tl.sum(found * given)
    dx = slope * tl.load(roots) + found * tl.load(roots + 1)
    tl.store(d_x + row[:, None] * DIM + entry[None, :], dx, mask=mask)
    tl.store(d_roots + 2 * tl.program_id(0), of_first)
    tl.store(d_roots + 2 * tl.program_id(0) + 1, of_second)

"""The steps of Newton-Schulz on one matrix on the chip, and their derivative along a direction (`orthogonal_write`).

    A = X X^T,  P = b A + c A^2,  X <- a X + P X,       with the derivative along Y beside it:
    dA = Y X^T + X Y^T,  dP = b dA + c (A dA + dA A),  Y <- a Y + P Y + dP X

NS is the gradient of a function of the singular values alone, so its Jacobian is symmetric (derived): the derivative
along a cotangent is what the backward pass asks for. It goes forwards beside X, so that no iterate is ever kept.

What is iterated is x = X / t, of norm one at the start: half precision, which has the ten bits of tf32, holds it
whatever the size of X is. A step is x <- m x + m / a P x and t <- a / m t with m the power of two nearest to a. A table
has m, b m / a, c m / a and a / m of every step. x and y are float32, and rounded where a product takes them: what is
small in them grows by a at every step, and what is large does not, so that the rounding of the large would become as
large as the small.

Features beyond a power of two are a tail, a tile of its own; without one it is the tile itself and never looked at.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled, loaded


@compiled
def narrow(x: tl.tensor, HALF: tl.constexpr) -> tl.tensor:
    """Return x as a product takes it."""
    kind: tl.constexpr = tl.float16 if HALF else tl.float32
    return x.to(kind)


@compiled
def times(a: tl.tensor, b: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return the product of two tiles: of half precision, or of float32 as PRECISION says."""
    return tl.dot(a, b, input_precision=PRECISION)


@compiled
def by_rows(x: tl.tensor, HALF: tl.constexpr) -> tl.tensor:
    """Return the rows of x over their largest entry, as a product takes them, and that entry."""
    most = tl.max(tl.abs(x), 1)
    most = tl.where(most > 0.0, most, 1.0)
    return narrow(x / most[:, None], HALF), most


@compiled
def by_largest(x: tl.tensor, HALF: tl.constexpr) -> tl.tensor:
    """Return x over its largest entry, as a product takes it, and that entry."""
    most = tl.max(tl.abs(x))
    most = tl.where(most > 0.0, most, 1.0)
    return narrow(x / most, HALF), most


@compiled
def product(a: tl.tensor, b: tl.tensor, HALF: tl.constexpr, PRECISION: tl.constexpr) -> tl.tensor:
    """Return the product of a and of b, which is narrow already."""
    rows, of_rows = by_rows(a, HALF)
    return of_rows[:, None] * times(rows, b, PRECISION)


@compiled
def rows_of(
    matrix: tl.tensor,
    row: tl.tensor,
    there: tl.tensor,
    d: tl.tensor,
    z: tl.tensor,
    WIDTH: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
) -> tl.tensor:
    """Return rows of a matrix and their tail over the largest entry of each, and that entry (`by_rows`)."""
    x = loaded(matrix, row, d, there, WIDTH)
    most = tl.max(tl.abs(x), 1)
    tail = x
    if TAIL:
        tail = loaded(matrix, row, z, there, WIDTH)
        most = tl.maximum(most, tl.max(tl.abs(tail), 1))
    most = tl.where(most > 0.0, most, 1.0)
    return narrow(x / most[:, None], HALF), narrow(tail / most[:, None], HALF), most


@compiled
def between(
    x: tl.tensor, x_tail: tl.tensor, y: tl.tensor, y_tail: tl.tensor, TAIL: tl.constexpr, PRECISION: tl.constexpr
) -> tl.tensor:
    """Return X Y^T."""
    found = times(x, tl.trans(y), PRECISION)
    if TAIL:
        found = tl.dot(x_tail, tl.trans(y_tail), found, input_precision=PRECISION)
    return found


@compiled
def step_of(table: tl.tensor, n: tl.tensor) -> tl.tensor:
    """Return the row of a table that step n has."""
    return tl.load(table + 4 * n), tl.load(table + 4 * n + 1), tl.load(table + 4 * n + 2), tl.load(table + 4 * n + 3)


@compiled
def polynomial(
    g: tl.tensor, gram: tl.tensor, b: tl.tensor, c: tl.tensor, HALF: tl.constexpr, PRECISION: tl.constexpr
) -> tl.tensor:
    """Return b A + c A^2; A is `gram`, and narrow it is g."""
    return b * gram + c * times(g, tl.trans(g), PRECISION)


@compiled
def derivative(
    g: tl.tensor, d_gram: tl.tensor, b: tl.tensor, c: tl.tensor, HALF: tl.constexpr, PRECISION: tl.constexpr
) -> tl.tensor:
    """Return b dA + c (A dA + dA A)."""
    d_g = narrow(d_gram, HALF)
    d_square = tl.dot(d_g, g, times(g, d_g, PRECISION), input_precision=PRECISION)
    return b * d_gram + c * d_square

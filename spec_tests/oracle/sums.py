"""Every contraction of the second oracle, in a chosen order of summation.

Four orders of the same sum give four results in float32: their spread is what rounding alone may do to an
implementation (`NumpyPort(order=...)`). No fused or blocked product of a library is used there, so that the order is
ours.
"""

from functools import cache
from typing import Final, Literal

import numpy as np

from spec_tests.port import Array

Order = Literal["forward", "reversed", "pairwise", "shuffled"]
ORDERS: Final[tuple[Order, ...]] = ("forward", "reversed", "pairwise", "shuffled")
BLOCK: Final = 1 << 18
"""Most products that `matmul` holds at once."""


@cache
def _shuffle(length: int) -> tuple[int, ...]:
    """Return one permutation of range(length), the same every time (Philox)."""
    return tuple(int(i) for i in np.random.Generator(np.random.Philox(key=length)).permutation(length))


def _first(terms: Array, axis: int) -> Array:
    """Return the array with one axis first: `np.moveaxis`, which takes a third of the time of the loops."""
    return terms.transpose(axis, *range(axis), *range(axis + 1, terms.ndim)) if axis else terms


class Sums:
    """Sums, inner products and matrix products over explicit terms; leading axes are kept apart.

    `forward` and `reversed` add one term after another, `shuffled` likewise in a fixed random order, `pairwise` adds
    neighbours, then neighbouring sums, until one is left.
    """

    def __init__(self, order: Order = "forward") -> None:
        self.order = order

    def total(self, terms: Array, axis: int = -1) -> Array:
        """Return the sum of `terms` along one axis: zero where there is none."""
        ordered = _first(terms, axis % terms.ndim)
        length = len(ordered)
        if length == 0:
            return np.zeros(ordered.shape[1:], dtype=terms.dtype)
        if self.order == "pairwise":
            while len(ordered) > 1:
                even = len(ordered) // 2 * 2
                halved = ordered[0:even:2] + ordered[1:even:2]
                ordered = np.concatenate([halved, ordered[even:]]) if even < len(ordered) else halved
            return np.asarray(ordered[0])
        if self.order == "reversed":
            ordered = ordered[::-1]
        elif self.order == "shuffled":
            ordered = ordered[list(_shuffle(length))]
        # `accumulate` adds strictly one after another; `sum` is free to add in blocks.
        return np.asarray(np.add.accumulate(ordered, axis=0)[-1])

    def dot(self, left: Array, right: Array) -> Array:
        """Return the inner product over the last axis."""
        return self.total(left * right)

    def matvec(self, matrix: Array, vector: Array) -> Array:
        """Return matrix times vector over the last two axes and the last one."""
        return self.total(matrix * vector[..., None, :])

    def matmul(self, left: Array, right: Array) -> Array:
        """Return the product of matrices over the last two axes."""
        rows = max(1, BLOCK // max(1, right.size))
        blocks = [left[..., i : i + rows, :] for i in range(0, max(1, left.shape[-2]), rows)]
        products = [self.total(block[..., :, :, None] * right[..., None, :, :], axis=-2) for block in blocks]
        return products[0] if len(products) == 1 else np.concatenate(products, axis=-2)

    def norm(self, x: Array) -> Array:
        """Return the l2 norm over all axes as an analytic function, scaled so that no square overflows or vanishes.

        Zero has norm zero, and the norm counts as constant there: it has no derivative.
        """
        scale = np.abs(x.real).max(initial=0.0)
        if scale == 0.0:
            return np.zeros((), dtype=x.real.dtype)
        part = (x / scale).ravel()
        return np.asarray(scale * np.sqrt(self.dot(part, part)))


class AnyOrder(Sums):
    """The same in the order that numpy likes best: several times faster, for what is compared in float64 alone."""

    def total(self, terms: Array, axis: int = -1) -> Array:
        """Return the sum of `terms` along one axis."""
        return np.asarray(terms.sum(axis))

    def matvec(self, matrix: Array, vector: Array) -> Array:
        """Return matrix times vector over the last two axes and the last one."""
        return np.asarray((matrix @ vector[..., None])[..., 0])

    def matmul(self, left: Array, right: Array) -> Array:
        """Return the product of matrices over the last two axes."""
        return np.asarray(left @ right)


FORWARD: Final = Sums()
ANY_ORDER: Final = AnyOrder()

"""docs/spec/ridge_scan.md in numpy: the two sums after every token, and a solve for every read."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.chapters.ridge_scan.operation import ROWS
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array, Op


class Ridge:
    """The loop over rows, heads and tokens; a seeded fault is one method done wrongly."""

    def __init__(self, sums: Sums = ANY_ORDER) -> None:
        self.sums = sums

    def run(self, x: Arrays) -> dict[str, Array]:
        """Return the reads and the state after the last token."""
        dtype = np.result_type(*(value for value in x.values() if value.dtype.kind in "fc"))
        outputs = {"reads": np.zeros(x["values"].shape, dtype)}
        outputs |= {name: np.array(x[name], dtype=dtype) for name in ("cross", "gram")}
        outputs["position"] = np.array(x["position"])
        batch, time, heads, _ = x["values"].shape
        for row in range(batch):
            for head in range(heads):
                cross, gram, position = x["cross"][row, head], x["gram"][row, head], int(x["position"][row])
                for t in range(time):
                    if x["reset"][row, t] or position == 0:
                        cross, gram, position = self.begun(cross, gram)
                    cross, gram = self.written(cross, gram, *(x[name][row, t, head] for name in TOKEN))
                    position += 1
                    outputs["reads"][row, t, head] = self.read(
                        cross, gram, x["ridge"][head], x["queries"][row, t, head]
                    )
                if time:
                    outputs["cross"][row, head], outputs["gram"][row, head] = cross, gram
                    outputs["position"][row] = position
        return outputs

    def begun(self, cross: Array, gram: Array) -> tuple[Array, Array, int]:
        """RESET."""
        return np.zeros_like(cross), np.zeros_like(gram), 0

    def written(
        self, cross: Array, gram: Array, key: Array, value: Array, retention: float, step: float
    ) -> tuple[Array, Array]:
        """Return G and H with one pair more."""
        pair, square = value[:, None] * key[None, :], key[:, None] * key[None, :]
        return np.asarray(retention * cross + step * pair), np.asarray(retention * gram + step * square)

    def read(self, cross: Array, gram: Array, ridge: Array, query: Array) -> Array:
        """Return G (H + Lambda)^-1 q of the symmetric part of H: a derivative by H is symmetric, as H is."""
        return self.sums.matvec(cross, np.linalg.solve(0.5 * (gram + gram.T) + np.diag(ridge), query))


TOKEN: Final = ("keys", "values", "retention", "step_size")


def _ridge_scan(_: Config, x: Arrays, sums: Sums) -> Arrays:
    return Ridge(sums).run(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.RIDGE_SCAN: _ridge_scan}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.RIDGE_SCAN: in_columns(ROWS[0], _ridge_scan)}

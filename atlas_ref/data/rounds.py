"""Rounds over a set of rows: which rows a step reads, as a function of the seed and the step.

A round over n rows has an order of its own, drawn from the seed and the number of the round, and row b of a step is

    row number i = step * B + b of all rounds:    order(seed, i // n)[i mod n]

so nothing is kept between calls. A batch of all n rows is a round: every row, once.
"""

import numpy as np
from numpy.typing import NDArray


def rows_of_step(step: int, batch: int, rows: int, seed: int) -> NDArray[np.int64]:
    """Return the indices, among `rows` rows, of the `batch` ones of a step (0-based), [batch]."""
    rounds, places = np.divmod(step * batch + np.arange(batch), rows)
    numbers = range(int(rounds[0]), int(rounds[-1]) + 1)
    return np.concatenate([_order(number, rows, seed)[places[rounds == number]] for number in numbers])


def _order(number: int, rows: int, seed: int) -> NDArray[np.int64]:
    """Return the order of the rows in a round: of its own block of a counter-based generator."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, number, 0])).permutation(rows)

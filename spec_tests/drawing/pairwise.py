"""The fewest cases in which every two values of every two axes meet: a grid too large to run, thinned but covering."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from spec_tests.drawing.inputs import generator

Cell = Mapping[str, Any]
CANDIDATES = 60


def _pairs(cell: Cell) -> set[tuple[str, Any, str, Any]]:
    return {(a, cell[a], b, cell[b]) for a, b in combinations(cell, 2)}


def _as_it_is(cell: Cell, kept: Cell) -> dict[str, Any]:
    return dict(cell)


def covering(
    axes: Mapping[str, Sequence[Any]], seed: int = 1, mended: Callable[[Cell, Cell], Cell | None] = _as_it_is
) -> list[dict[str, Any]]:
    """Return cells of the grid of `axes` that hold every pair of values of every two axes; the same cells every time.

    `mended` makes of a cell one that means something, with the values to keep as they are; None where they cannot be.

    Greedy: of some random cells with one missing pair in each, take the one with most missing pairs, until none is.
    """
    rng = generator(seed)
    wanted = ((a, x, b, y) for a, b in combinations(axes, 2) for x in axes[a] for y in axes[b])
    missing = {(a, x, b, y) for a, x, b, y in wanted if mended({a: x, b: y}, {a: x, b: y}) is not None}
    cells: list[dict[str, Any]] = []
    while missing:
        a, x, b, y = min(missing, key=str)
        drawn = [
            {name: values[int(rng.integers(len(values)))] for name, values in axes.items()} for _ in range(CANDIDATES)
        ]
        whole = [mended({**cell, a: x, b: y}, {a: x, b: y}) for cell in drawn]
        best = max((cell for cell in whole if cell is not None), key=lambda cell: len(_pairs(cell) & missing))
        missing -= _pairs(best)
        cells.append(dict(best))
    return cells

"""Generic inputs for cases, from a counter-based generator (Philox); rows differ in content and in position."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from spec_tests.port import Array

_run = 0


def draw_afresh(run: int) -> None:
    """Let every generator made from here on depend on the seed of a run too; 0 are the numbers of the gate."""
    global _run
    _run = run


def run_seed() -> int:
    """Return the seed of a run that explores, 0 of any other."""
    return _run


def generator(seed: int) -> np.random.Generator:
    """Return a generator whose stream depends on its seed, and on that of the run where the run explores.

    Philox 4x64 with the key run * 2^64 + seed; both are below 2^64.
    """
    return np.random.Generator(np.random.Philox(key=(_run << 64) + seed))


def positions(batch: int, time: int, seed: int, *, reset_rate: float = 0.08) -> Array:
    """Return the index of each token in its document; documents end at random.

    The first row always begins a document; later rows have been running for up to 40 tokens.
    """
    rng = generator(seed)
    position = np.zeros((batch, time), dtype=np.int64)
    for row in range(batch):
        current = 0 if row == 0 else int(rng.integers(1, 40))
        for t in range(time):
            if t > 0 and rng.random() < reset_rate:
                current = 0
            position[row, t] = current
            current += 1
    return position


def splits(time: int, seed: int) -> Iterator[list[slice]]:
    """Yield partitions of range(time) into consecutive slices: halves, single tokens at both ends, random cuts."""
    rng = generator(seed)
    cuts = [[time // 2], [1, 1, max(time - 1, 1)], sorted(int(c) for c in rng.integers(0, time + 1, size=4))]
    for cut in cuts:
        edges = [0, *(min(c, time) for c in cut), time]
        yield [slice(a, b) for a, b in pairwise(edges)]


def unit(x: Array) -> Array:
    """Return x divided by its l2 norm along the last axis."""
    direction: Array = x / np.sqrt((x * x).sum(-1, keepdims=True))
    return direction


def orthonormal(count: int, width: int, seed: int) -> Array:
    """Return up to four orthonormal rows of a width of four at least, exact in every precision: entries 0 and +-1/2."""
    rng = generator(seed)
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    rows = np.zeros((4, width))
    rows[:, rng.permutation(width)[:4]] = 0.5 * signs * rng.choice([-1.0, 1.0], (4, 1))
    return rows[rng.permutation(4)[:count]]


def central_difference(function: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """Return the gradient of a scalar function at x by central differences, entry by entry."""
    gradient = np.zeros_like(x, dtype=np.float64)
    for place in np.ndindex(x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


def normal(seed: int, *shape: int) -> Array:
    """Return standard normal numbers."""
    return generator(seed).standard_normal(shape)


def scaled(seed: int, scales: tuple[float, ...], *shape: int) -> Array:
    """Return one array of this shape a scale."""
    factors = np.array(scales).reshape(-1, *(1 for _ in shape))
    return np.asarray(normal(seed, len(scales), *shape) * factors)


# Rows out of phase: one in the middle of a document, one that begins, one with a document of one token.
PHASES: Final = np.array([[5, 6, 7, 8, 9, 10, 11, 12, 13], [0, 1, 2, 3, 0, 1, 2, 3, 4], [1, 2, 0, 0, 1, 2, 3, 4, 5]])


# A row that comes from beyond position 100,000 and holds a dozen documents after its first.
FAR_AND_MANY: Final = np.concatenate([np.arange(100_003, 100_023), *[np.arange(4)] * 12, np.arange(2)])[None]

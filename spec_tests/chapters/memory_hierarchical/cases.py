"""Stored cases of the hierarchy of memories: small calls, two rows of one head, shards that end inside them."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np

from spec_tests.chapters.memory_hierarchical.calls import case, cotangents, grid, inside, settings
from spec_tests.chapters.memory_hierarchical.covering import covering_cases, covering_gradients, sized_cases
from spec_tests.port import Op, Scalar
from spec_tests.vectors.source import Family, Source

_HIER: Final = Family("HIER", Op.MEMORY_HIERARCHICAL)
_WHOLE: Final = "HIER-1 HIER-2 HIER-3 HIER-4 HIER-6 HIER-9"


def _grid() -> Iterator[Source]:
    for number, config in enumerate(islice(grid(), 5), start=1):
        words = " ".join(str(value) for value in config.values())
        inputs = case(config, seed=74_000 + 20 * number, time=6, heads=1, features=3, values=2, document=4)
        yield _HIER.case(number, _WHOLE, words, config, inputs)


def _sloped(number: int, config: dict[str, Scalar]) -> Source:
    inputs = inside(
        config,
        74_200 + 20 * number,
        (3, 8),
        time=5,
        heads=1,
        features=3,
        values=2,
        window=2,
        chunks=(3, 2),
        shards=(0, 4),
    )
    why = f"derivatives of {config['architecture']}, queries of the {config['projection_span']}"
    return _HIER.case(number, "HIER-7", why, config, inputs, cotangents(inputs, 74_219 + number))


def _empty(number: int) -> Source:
    inputs = inside(settings(), 74_400, time=0, heads=1, features=3, values=2)
    return _HIER.case(number, "HIER-8", "a call without tokens returns its state", settings(), inputs)


def _four(number: int) -> Source:
    """Four local memories of one row that began forty tokens ago, one of them never reset."""
    config = settings("titans", step_scale="mass")
    shape = {"batch": 1, "heads": 1, "features": 3, "values": 2, "window": 2, "time": 6}
    inputs = case(config, seed=74_420, chunks=(4, 1, 2, 3, 2), shards=(0, 0, 4, 6, 2), **shape)
    why = "four local memories, one that is never reset"
    return _HIER.case(number, _WHOLE, why, config, inputs | {"position": np.array([40])})


STORED: Final = (
    *_grid(),
    _sloped(6, settings("titans", step_scale="mass", momentum_max=0.6)),
    _sloped(7, settings("omega", "mlp", projection_span="document", boundary="truncate")),
    _empty(8),
    _four(9),
    *covering_cases(_HIER, 101, 75_000),
    *covering_gradients(_HIER, 151, 76_800),
    *sized_cases(_HIER, 161, 77_000),
)

"""Stored cases of QK-clip over the pairs in sight."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_SIGHT: Final = Family("CSIGHT", Op.QK_CLIP_IN_SIGHT)


def _seen(
    seed: int, position: Array, *, window: int = 3, heads: int = 2, dim: int = 4, model: int = 3, tokens: int = 2
) -> dict[str, Array]:
    """Return heads of which the first has large logits."""
    batch, time = position.shape
    large = np.array([3.0, *[0.5] * (heads - 1)])[:, None]
    return {
        "queries": large * normal(seed, batch, time, heads, dim),
        "keys": normal(seed + 1, batch, time, heads, dim),
        "persistent_keys": normal(seed + 2, tokens, heads, dim),
        "cache_keys": normal(seed + 3, batch, window - 1, heads, dim),
        "position": position,
        "query_weight": normal(seed + 4, heads, dim, model),
        "key_weight": normal(seed + 5, heads, dim, model),
    }


def _loud(seed: int) -> dict[str, Array]:
    """Return a call whose longest keys are seen by nobody, one before the window and one of another document."""
    inputs = _seen(seed, np.array([[4, 0, 1, 2, 3], [0, 1, 2, 3, 4]]))
    inputs["keys"][0, 0] *= 8.0
    inputs["queries"][0, 0] *= 0.01
    inputs["keys"][1, 0] *= 8.0
    inputs["queries"][1, :3] *= 0.01
    return inputs


def _far(seed: int) -> dict[str, Array]:
    """Return a row from beyond position 100,000, where its queries are longest, and a dozen documents after it."""
    row = np.concatenate([100_003 + np.arange(18), *[np.arange(4)] * 12])
    inputs = _seen(seed, row[None], window=2, heads=1, dim=2, model=2, tokens=0)
    inputs["queries"][:, :18] *= 4.0
    inputs["keys"][:, :18] *= 4.0
    return inputs


def _unseen(seed: int) -> dict[str, Array]:
    """Return a row that begins a document behind an infinite cache, and one whose largest logit is in the cache."""
    inputs = _seen(seed, np.array([[0, 1], [3, 4]]), window=2, heads=1, dim=17, model=17)
    inputs["cache_keys"][0] = np.inf
    inputs["cache_keys"][1] = 2.0 * inputs["queries"][1, :1]
    return inputs


STORED: Final = (
    _SIGHT.case(
        1,
        "OPT-10",
        "a window, documents, what was before the call, persistent keys",
        {"threshold": 2.0, "window": 3},
        _seen(6001, np.array([[5, 6, 0, 1, 2], [1, 2, 3, 4, 5]])),
    ),
    _SIGHT.case(2, "OPT-10", "the longest keys are out of sight", {"threshold": 1.0, "window": 3}, _loud(6011)),
    _SIGHT.case(
        3,
        "OPT-10",
        "persistent keys have the largest logits",
        {"threshold": 1.0, "window": 2},
        (lambda x: {**x, "persistent_keys": 4.0 * x["persistent_keys"]})(
            _seen(6021, np.array([[3, 4, 5], [0, 1, 2]]), window=2)
        ),
    ),
    _SIGHT.case(
        101,
        "OPT-10",
        "a long row from far, of many documents",
        {"threshold": 0.5, "window": 2},
        _far(6031),
        beside=True,
    ),
    _SIGHT.case(
        102,
        "OPT-10",
        "six rows of five heads, the token alone in sight",
        {"threshold": 1.5, "window": 1},
        _seen(6041, np.array([[0], [1], [2], [0], [7], [3]]), window=1, heads=5, dim=2, tokens=1),
    ),
    _SIGHT.case(
        103,
        "OPT-10",
        "a cache that one row sees, and an infinite one that nobody sees",
        {"threshold": 1.0, "window": 2},
        _unseen(6051),
    ),
)

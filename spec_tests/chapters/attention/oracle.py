"""docs/spec/attention.md in numpy: for every query the list of keys in sight, and a softmax over it."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.attention.operation import ROWS
from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def softmax_read(query: Array, keys: Array, values: Array, sums: Sums) -> Array:
    """Return sum_i softmax(q.k_i / sqrt(dim)) v_i over the keys of the list."""
    scores = sums.matvec(keys, query) / float(np.sqrt(len(query)))
    # What is taken from every score cancels: a constant, even where it is differentiated.
    weights = np.exp(scores - scores.real.max())
    return np.asarray(sums.total(weights[:, None] * values, axis=0) / sums.total(weights))


def sliding_window_attention(inputs: Mapping[str, Array], window: int, sums: Sums) -> dict[str, Array]:
    """Return the output and the new cache."""
    queries, position = inputs["queries"], inputs["position"]
    keys = np.concatenate([inputs["cache_keys"], inputs["keys"]], axis=1)
    values = np.concatenate([inputs["cache_values"], inputs["values"]], axis=1)
    first_keys, first_values = inputs["persistent_keys"], inputs["persistent_values"]
    output = np.zeros(queries.shape, dtype=np.result_type(queries, keys, values, first_keys, first_values))
    for row, t, head in np.ndindex(queries.shape[:3]):
        newest = window - 1 + t
        seen = slice(newest - min(window - 1, int(position[row, t])), newest + 1)
        in_sight = np.concatenate([first_keys[:, head], keys[row, seen, head]])
        read = np.concatenate([first_values[:, head], values[row, seen, head]])
        output[row, t, head] = softmax_read(queries[row, t, head], in_sight, read, sums)
    last = slice(keys.shape[1] - (window - 1), None)
    return {"cache_keys": keys[:, last], "cache_values": values[:, last], "output": output}


def _sliding_window_attention(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return sliding_window_attention(x, int(config["window"]), sums)


ANSWERS: Final[Mapping[Op, Function]] = {Op.SLIDING_WINDOW_ATTENTION: _sliding_window_attention}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.SLIDING_WINDOW_ATTENTION: in_columns(ROWS[0], _sliding_window_attention)}

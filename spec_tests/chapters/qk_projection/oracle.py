"""docs/spec/qk_projection.md in numpy: the matrix Pi, one key after another."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def direction(key: Array, sums: Sums) -> Array:
    """Return k / ||k||, zero for a zero key."""
    length = sums.norm(key)
    return key / length if length.real > 0.0 else np.zeros_like(key)


def qk_projection(queries: Array, keys: Array, carry: Array, position: Array, sums: Sums) -> dict[str, Array]:
    """Return the projected queries, the norm of Pi at every token, and the last Pi."""
    dtype = np.result_type(queries, keys, carry)
    last, projected = carry.astype(dtype), np.zeros(queries.shape, dtype)
    frobenius = np.zeros(queries.shape[:3], dtype)
    for row, t, head in np.ndindex(queries.shape[:3]):
        if position[row, t] == 0:
            last[row, head] = 0.0
        unit = direction(keys[row, t, head], sums)
        last[row, head] += unit[:, None] * unit[None, :]
        projected[row, t, head] = sums.matvec(last[row, head], queries[row, t, head])
        frobenius[row, t, head] = sums.norm(last[row, head])
    return {"carry": last, "frobenius": frobenius, "projected": projected}


def qk_gate(projected: Array, frobenius: Array, log_gain: Array, scale: Array) -> Array:
    """Return tanh(exp(log_gain) projected / (frobenius + 1e-7)) scale, entry by entry."""
    return np.asarray(np.tanh(np.exp(log_gain) * (projected / (frobenius[..., None] + 1e-7))) * scale)


def _qk_projection(_: Config, x: Arrays, sums: Sums) -> Arrays:
    return qk_projection(x["queries"], x["keys"], x["carry"], x["position"], sums)


def _qk_gate(_: Config, x: Arrays, __: Sums) -> Arrays:
    return {"gated": qk_gate(x["projected"], x["frobenius"], x["log_gain"], x["scale"])}


ANSWERS: Final[Mapping[Op, Function]] = {Op.QK_PROJECTION: _qk_projection, Op.QK_GATE: _qk_gate}

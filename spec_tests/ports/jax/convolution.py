"""The short convolution in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors, by_length, lags, newest, without_bad


def _short_conv(_: Hashable, count: Array, x: Tensors) -> Tensors:
    def row(tokens: Array, tail: Array, position: Array) -> tuple[Array, Array]:
        seen = np.arange(len(tail) + 1) <= position[:, None]
        inputs, bad = without_bad(jnp.where(seen[..., None], lags(tail, tokens), 0.0)[..., None])
        y = jnp.einsum("tac,ca->tc", inputs[..., 0], x["weight"][:, ::-1])
        # What sees something bad is no number and has no derivative: the weight has that of all others.
        return jnp.where(bad.any(1), jnp.nan, y), newest(tail, tokens, count)

    y, tail = jax.vmap(row)(x["x"], x["tail"], x["position"])
    return {"y": y, "tail": tail}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {Op.SHORT_CONV: Implementation(_short_conv, by_length)}

"""The running mean in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _ltm_scan(_: Hashable, options: tuple[Array, Array], x: Tensors) -> Tensors:
    decay, count = options

    def row(tokens: Array, carry: Array, position: Array) -> tuple[Array, Array]:
        def token(mean: Array, seen: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            entry, place, there = seen
            after = decay * jnp.where(place == 0, 0.0, mean) + (1.0 - decay) * entry
            return jnp.where(there, after, mean), after

        return lax.scan(token, carry, (tokens, position, jnp.arange(len(tokens)) < count))

    carry, y = jax.vmap(row)(x["x"], x["carry"], x["position"])
    return {"carry": carry, "y": y}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.LTM_SCAN: Implementation(_ltm_scan, lambda config, _, lengths: (None, (config["decay"], lengths["time"])))
}

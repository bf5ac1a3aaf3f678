"""Halting in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _act_halt(_: Hashable, threshold: Array, x: Tensors) -> Tensors:
    def row(chances: Array) -> tuple[Array, Array, Array]:
        # One after the other, so that a sum that is exactly the threshold is exactly that.
        sums = lax.scan(lambda total, chance: (total + chance, total + chance), jnp.zeros_like(chances[0]), chances)[1]
        steps = np.arange(len(chances))
        last = jnp.argmax((sums >= threshold) | (steps == len(chances) - 1))
        remainder = 1.0 - jnp.sum(jnp.where(steps < last, chances, 0.0))
        weights = jnp.where(steps < last, chances, jnp.where(steps == last, remainder, 0.0))
        return last + 1, weights, (last + 1).astype(chances.dtype) + remainder

    halted, weights, ponder = jax.vmap(row)(x["probabilities"])
    return {"halted": halted, "weights": weights, "ponder": ponder}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.ACT_HALT: Implementation(_act_halt, lambda config, *_: (None, config["threshold"]))
}

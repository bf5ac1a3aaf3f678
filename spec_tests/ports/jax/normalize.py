"""Normalisation in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax.numpy as jnp
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors, largest


def _l2_normalize(_: Hashable, eps: Array, x: Tensors) -> Tensors:
    vectors = x["x"]
    top = jnp.maximum(largest(vectors, -1), eps)
    scaled = vectors / top
    return {"y": scaled / jnp.sqrt(jnp.sum(scaled**2, axis=-1, keepdims=True) + (eps / top) ** 2)}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.L2_NORMALIZE: Implementation(_l2_normalize, lambda config, *_: (None, config["eps"]))
}

"""StableMax in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import jax.numpy as jnp

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _stablemax(_: Hashable, __: Any, x: Tensors) -> Tensors:
    logits = x["x"]
    share = jnp.where(logits >= 0, logits + 1.0, 1.0 / (1.0 - jnp.minimum(logits, 0.0)))
    # The sum of three entries of 3e38 is no float32, and the inverse of one is none for XLA, which flushes it to zero.
    scaled = share * jnp.where(jnp.max(share, axis=-1, keepdims=True) > 1e18, 1e-18, 1.0)
    return {"probabilities": scaled / jnp.sum(scaled, axis=-1, keepdims=True)}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {Op.STABLEMAX: Implementation(_stablemax, lambda *_: (None, ()))}

"""M3 mixing in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _m3_mix(_: Hashable, warmup: Array, x: Tensors) -> Tensors:
    ramp = 0.1 + 0.4 * x["crossings"].astype(x["alpha_logit"].dtype) / jnp.maximum(warmup, 1)
    mixing = jnp.where(x["crossings"] < warmup, ramp, jax.nn.sigmoid(x["alpha_logit"]))
    share = mixing[:, None, None]
    return {"mixing": mixing, "mixed": share * lax.stop_gradient(x["previous"]) + (1.0 - share) * x["initial"]}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.M3_MIX: Implementation(_m3_mix, lambda config, *_: (None, config["warmup_crossings"]))
}

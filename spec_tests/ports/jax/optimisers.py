"""Muon, Grokfast, perp-grad and QK-clip in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from math import sqrt
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import (
    NORM_EPS,
    Config,
    Implementation,
    Lengths,
    NumpyInputs,
    Tensors,
    coefficients,
    orthogonalise,
    root,
    start_of,
)


def _muon_step(start: Any, options: tuple[Mapping[str, Array], Array], x: Tensors) -> Tensors:
    numbers, table = options
    rate, momentum = numbers["learning_rate"], numbers["momentum"]
    rows, columns = x["weight"].shape
    buffer = momentum * x["buffer"] + x["gradient"]
    update = orthogonalise(x["gradient"] + momentum * buffer, table, NORM_EPS, start)
    kept = (1.0 - rate * numbers["weight_decay"]) * x["weight"]
    return {"buffer": buffer, "weight": kept - rate * sqrt(max(1.0, rows / columns)) * update}


def _grokfast(_: Hashable, options: Mapping[str, Array], x: Tensors) -> Tensors:
    gradients, alpha = x["gradients"], options["alpha"]

    def step(average: Array, gradient: Array) -> tuple[Array, Array]:
        after = alpha * average + (1.0 - alpha) * gradient
        return after, after

    # Started at the first gradient, which the first step then leaves as it is.
    averages = lax.scan(step, gradients[0], gradients)[1]
    return {"averages": averages, "filtered": gradients + options["strength"] * averages}


def _perp_grad(rescale: Hashable, _: Any, x: Tensors) -> Tensors:
    weight, gradient = x["weight"], x["gradient"]
    square = jnp.sum(weight**2)
    filtered = gradient - jnp.sum(weight * gradient) / jnp.where(square > 0, square, 1.0) * weight
    if rescale:
        length = root(jnp.sum(filtered**2))
        filtered = filtered * (root(jnp.sum(gradient**2)) / jnp.where(length > 0, length, 1.0))
    return {"filtered": filtered}


def _qk_clip(causal: Hashable, options: tuple[Array, Array, Array], x: Tensors) -> Tensors:
    threshold, rows, count = options
    queries, keys = x["queries"], x["keys"]
    batch, time, _heads, dim = queries.shape
    logits = jnp.einsum("bthd,bihd->hbti", queries, keys) / sqrt(dim)
    tokens = jnp.arange(time) < count
    order = np.tri(time, dtype=bool) if causal else np.ones((time, time), dtype=bool)
    seen = order & tokens & tokens[:, None] & (jnp.arange(batch) < rows)[:, None, None]
    maximum = jnp.max(jnp.where(seen, logits, -jnp.inf), axis=(1, 2, 3))
    clipped = maximum > threshold
    factor = jnp.where(clipped, jnp.sqrt(threshold / jnp.where(clipped, maximum, 1.0)), 1.0)[:, None, None]
    return {"maximum": maximum, **{name: factor * x[name] for name in ("query_weight", "key_weight")}}


def _muon_plan(config: Config, *_: Any) -> tuple[Hashable, Any]:
    numbers = {name: config[name] for name in ("learning_rate", "momentum", "weight_decay")}
    return start_of(config), (numbers, coefficients(config["coefficients"], config["newton_schulz_steps"]))


def _clip_plan(config: Config, _: NumpyInputs, lengths: Lengths) -> tuple[Hashable, Any]:
    return config["causal"], (config["threshold"], lengths["batch"], lengths["time"])


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.MUON_STEP: Implementation(_muon_step, _muon_plan),
    Op.GROKFAST: Implementation(_grokfast, lambda config, *_: (None, dict(config))),
    Op.PERP_GRAD: Implementation(_perp_grad, lambda config, *_: (config["rescale"], ())),
    Op.QK_CLIP: Implementation(_qk_clip, _clip_plan),
}

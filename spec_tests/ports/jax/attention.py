"""Attention over a sliding window in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from functools import partial
from math import sqrt
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors, lags, newest, without_bad


def _attend(query: Array, keys: Array, values: Array, seen: Array) -> Array:
    scores = jnp.where(seen, jnp.einsum("kd,d->k", keys, query) / sqrt(query.shape[0]), -jnp.inf)
    return jnp.einsum("k,kd->d", jax.nn.softmax(scores), values)


def _sliding_window_attention(_: Hashable, options: tuple[Array, Array], x: Tensors) -> Tensors:
    count, window = options

    def head(q: Array, k: Array, v: Array, pk: Array, pv: Array, ck: Array, cv: Array, position: Array) -> Array:
        seen = np.arange(len(ck) + 1) < jnp.minimum(window, position[:, None] + 1)
        everywhere = jnp.ones((len(q), len(pk)), bool)

        def before(persistent: Array, lags: Array) -> Array:
            return jnp.concatenate([jnp.broadcast_to(persistent, (len(q), *persistent.shape)), lags], axis=1)

        # Keys and values out of sight may hold anything, infinities included.
        pairs = ((pk, lags(ck, k)), (pv, lags(cv, v)))
        sound = [without_bad(before(always, jnp.where(seen[..., None], near, 0.0))) for always, near in pairs]
        (queries, unasked), (keys, bad_keys), (values, bad_values) = without_bad(q), *sound
        visible = jnp.concatenate([everywhere, seen], axis=1)
        # What sees something bad is no number and has no derivative: the persistent tokens have that of all others.
        spoilt = unasked | (bad_keys | bad_values).any(1)
        return jnp.where(spoilt[:, None], jnp.nan, jax.vmap(_attend)(queries, keys, values, visible))

    heads = jax.vmap(head, in_axes=(*[1] * 7, None), out_axes=1)
    rows = jax.vmap(heads, in_axes=(0, 0, 0, None, None, 0, 0, 0))
    persistent, cache = (x["persistent_keys"], x["persistent_values"]), (x["cache_keys"], x["cache_values"])
    output = rows(x["queries"], x["keys"], x["values"], *persistent, *cache, x["position"])
    last = jax.vmap(partial(newest, count=count))
    caches = {f"cache_{name}": last(x[f"cache_{name}"], x[name]) for name in ("keys", "values")}
    return {"output": output, **caches}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.SLIDING_WINDOW_ATTENTION: Implementation(
        _sliding_window_attention, lambda config, _, lengths: (None, (lengths["time"], config["window"]))
    )
}

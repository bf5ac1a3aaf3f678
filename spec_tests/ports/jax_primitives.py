"""Level 0 in jax, written from docs/spec: one row of a batch at a time, then `vmap`."""

from collections.abc import Hashable, Mapping
from functools import partial
from itertools import combinations_with_replacement
from math import factorial, prod, sqrt
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax_arrays import (
    NORM_EPS,
    Config,
    Implementation,
    Lengths,
    NumpyInputs,
    Tensors,
    coefficients,
    largest,
    orthogonalise,
    root,
)


def _newton_schulz(_: Hashable, table: Array, x: Tensors) -> Tensors:
    return {"orthogonal": jax.vmap(lambda matrix: orthogonalise(matrix, table, NORM_EPS))(x["matrix"])}


def _monomials(x: Array, degree: int, a: Array, *, weighted: bool) -> Array:
    """Return the monomials of one degree times sqrt(a), and the root of the multinomial weight if `weighted`."""
    places = np.array(list(combinations_with_replacement(range(x.shape[1]), degree)))
    counts = [np.bincount(place) for place in places]
    weights = [factorial(degree) / prod(factorial(int(n)) for n in count) for count in counts]
    product = jnp.sqrt(a) * x[:, places[:, 0]]
    for i in range(1, degree):
        product = product * x[:, places[:, i]]
    return product * jnp.asarray(np.sqrt(weights), x.dtype) if weighted else product


def _polynomial_features(basis: Hashable, _: Any, x: Tensors) -> Tensors:
    vectors, a = x["x"], x["coefficients"]
    degrees = range(1, len(a) + 1)
    if basis == "elementwise":
        return {"features": 1.0 + sum((a[i - 1] * vectors**i for i in degrees), jnp.zeros_like(vectors))}
    if basis == "kronecker":
        powers = [vectors]
        for _i in degrees[1:]:
            powers.append((powers[-1][:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1))
        parts = [jnp.sqrt(a[i]) * power for i, power in enumerate(powers)]
    else:
        parts = [_monomials(vectors, i, a[i - 1], weighted=basis == "monomial_weighted") for i in degrees]
    return {"features": jnp.concatenate(parts, axis=1)}


def _l2_normalize(_: Hashable, eps: Array, x: Tensors) -> Tensors:
    vectors = x["x"]
    top = jnp.maximum(largest(vectors, -1), eps)
    scaled = vectors / top
    return {"y": scaled / jnp.sqrt(jnp.sum(scaled**2, axis=-1, keepdims=True) + (eps / top) ** 2)}


def _lags(past: Array, new: Array) -> Array:
    """Return, for each new entry, itself and the entries before it by age: [time, len(past) + 1, ...]."""
    everything = jnp.concatenate([past, new])
    newest = len(past) + np.arange(len(new))
    return everything[newest[:, None] - np.arange(len(past) + 1)]


def _last(past: Array, new: Array, count: Array) -> Array:
    """Return the last len(past) entries after `count` new ones."""
    return lax.dynamic_slice_in_dim(jnp.concatenate([past, new]), count, len(past))


def _short_conv(_: Hashable, count: Array, x: Tensors) -> Tensors:
    def row(tokens: Array, tail: Array, position: Array) -> tuple[Array, Array]:
        seen = np.arange(len(tail) + 1) <= position[:, None]
        inputs = jnp.where(seen[..., None], _lags(tail, tokens), 0.0)
        return jnp.einsum("tac,ca->tc", inputs, x["weight"][:, ::-1]), _last(tail, tokens, count)

    y, tail = jax.vmap(row)(x["x"], x["tail"], x["position"])
    return {"y": y, "tail": tail}


def _qk_projection(_: Hashable, count: Array, x: Tensors) -> Tensors:
    def head(queries: Array, keys: Array, carry: Array, begins: Array) -> tuple[Array, Array, Array]:
        scaled = keys / largest(keys, -1)
        length = root(jnp.sum(scaled**2, axis=-1, keepdims=True))
        units = scaled / jnp.where(length > 0, length, 1.0)

        def token(pi: Array, seen: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            query, unit, begin = seen
            pi = jnp.where(begin, 0.0, pi) + unit[:, None] * unit
            return pi, (pi @ query, root(jnp.sum(pi**2)))

        carry, (projected, frobenius) = lax.scan(token, carry, (queries, units, begins))
        return projected, carry, frobenius

    begins = (x["position"] == 0) & (jnp.arange(x["position"].shape[1]) < count)
    heads = jax.vmap(head, in_axes=(1, 1, 0, None), out_axes=(1, 0, 1))
    # A token that is only padding has a zero key, which adds nothing.
    projected, carry, frobenius = jax.vmap(heads)(x["queries"], x["keys"], x["carry"], begins)
    return {"projected": projected, "carry": carry, "frobenius": frobenius}


@jax.custom_jvp
def tanh(x: Array) -> Array:
    """Return tanh; its derivative is not taken as 1 - tanh^2, which cancels where tanh is near one."""
    return jnp.tanh(x)


def _tanh_slope(dx: Array, _: Array, x: Array) -> Array:
    """Return dx / cosh(x)^2 = 4 s / (1 + s)^2 dx with s = exp(-2 |x|)."""
    small = jnp.exp(-2.0 * jnp.abs(x))
    return 4.0 * small / (1.0 + small) ** 2 * dx


tanh.defjvps(_tanh_slope)


def _qk_gate(_: Hashable, __: Any, x: Tensors) -> Tensors:
    aligned = x["projected"] / (x["frobenius"][..., None] + 1e-7)
    return {"gated": tanh(jnp.exp(x["log_gain"]) * aligned) * x["scale"]}


def _attend(query: Array, keys: Array, values: Array, seen: Array) -> Array:
    scores = jnp.where(seen, jnp.einsum("kd,d->k", keys, query) / sqrt(query.shape[0]), -jnp.inf)
    return jnp.einsum("k,kd->d", jax.nn.softmax(scores), jnp.where(seen[:, None], values, 0.0))


def _sliding_window_attention(_: Hashable, options: tuple[Array, Array], x: Tensors) -> Tensors:
    count, window = options

    def head(q: Array, k: Array, v: Array, pk: Array, pv: Array, ck: Array, cv: Array, position: Array) -> Array:
        seen = np.arange(len(ck) + 1) < jnp.minimum(window, position[:, None] + 1)
        everywhere = jnp.ones((len(q), len(pk)), bool)

        def before(persistent: Array, lags: Array) -> Array:
            return jnp.concatenate([jnp.broadcast_to(persistent, (len(q), *persistent.shape)), lags], axis=1)

        # Keys out of sight may hold anything, infinities included.
        nearby = jnp.where(seen[..., None], _lags(ck, k), 0.0)
        visible = jnp.concatenate([everywhere, seen], axis=1)
        return jax.vmap(_attend)(q, before(pk, nearby), before(pv, _lags(cv, v)), visible)

    heads = jax.vmap(head, in_axes=(*[1] * 7, None), out_axes=1)
    rows = jax.vmap(heads, in_axes=(0, 0, 0, None, None, 0, 0, 0))
    persistent, cache = (x["persistent_keys"], x["persistent_values"]), (x["cache_keys"], x["cache_values"])
    output = rows(x["queries"], x["keys"], x["values"], *persistent, *cache, x["position"])
    last = jax.vmap(partial(_last, count=count))
    caches = {f"cache_{name}": last(x[f"cache_{name}"], x[name]) for name in ("keys", "values")}
    return {"output": output, **caches}


def _m3_mix(_: Hashable, warmup: Array, x: Tensors) -> Tensors:
    ramp = 0.1 + 0.4 * x["crossings"].astype(x["alpha_logit"].dtype) / jnp.maximum(warmup, 1)
    mixing = jnp.where(x["crossings"] < warmup, ramp, jax.nn.sigmoid(x["alpha_logit"]))
    share = mixing[:, None, None]
    return {"mixing": mixing, "mixed": share * lax.stop_gradient(x["previous"]) + (1.0 - share) * x["initial"]}


def _count(_: Config, __: NumpyInputs, lengths: Lengths) -> tuple[Hashable, Any]:
    return None, lengths["time"]


PRIMITIVES: Final[Mapping[Op, Implementation]] = {
    Op.NEWTON_SCHULZ: Implementation(
        _newton_schulz, lambda config, *_: (None, coefficients(config["coefficients"], config["steps"]))
    ),
    Op.POLYNOMIAL_FEATURES: Implementation(_polynomial_features, lambda config, *_: (config["basis"], ())),
    Op.L2_NORMALIZE: Implementation(_l2_normalize, lambda config, *_: (None, config["eps"])),
    Op.SHORT_CONV: Implementation(_short_conv, _count),
    Op.QK_PROJECTION: Implementation(_qk_projection, _count),
    Op.QK_GATE: Implementation(_qk_gate, lambda *_: (None, ())),
    Op.SLIDING_WINDOW_ATTENTION: Implementation(
        _sliding_window_attention, lambda config, _, lengths: (None, (lengths["time"], config["window"]))
    ),
    Op.M3_MIX: Implementation(_m3_mix, lambda config, *_: (None, config["warmup_crossings"])),
}

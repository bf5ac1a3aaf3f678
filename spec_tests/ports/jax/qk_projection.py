"""The Q-K projection and its gate in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors, by_length, largest, root


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


@tanh.defjvp
def _tanh_along(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Return tanh and its change along a tangent, 1 / cosh^2 times it, by an exponential that cannot overflow."""
    small = jnp.exp(-2.0 * jnp.abs(primals[0]))
    return tanh(primals[0]), 4.0 * small / (1.0 + small) ** 2 * tangents[0]


def _qk_gate(_: Hashable, __: Any, x: Tensors) -> Tensors:
    aligned = x["projected"] / (x["frobenius"][..., None] + 1e-7)
    return {"gated": tanh(jnp.exp(x["log_gain"]) * aligned) * x["scale"]}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.QK_PROJECTION: Implementation(_qk_projection, by_length),
    Op.QK_GATE: Implementation(_qk_gate, lambda *_: (None, ())),
}

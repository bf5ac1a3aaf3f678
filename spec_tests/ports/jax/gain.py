"""AdamW on a learned gain in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import jax.numpy as jnp
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors, root


def _optimizer_step(_: Hashable, options: Mapping[str, Array], x: Tensors) -> Tensors:
    """Return exp(log_gain) after each step of AdamW (arXiv 1711.05101, Algorithm 2)."""
    rate, beta1, beta2 = (options[name] for name in ("learning_rate", "beta1", "beta2"))

    def step(carry: Any, gradient: Array) -> tuple[Any, Array]:
        value, mean, square, rest1, rest2 = carry
        mean = beta1 * mean + (1.0 - beta1) * gradient
        square = beta2 * square + (1.0 - beta2) * gradient**2
        rest1, rest2 = rest1 * beta1, rest2 * beta2
        direction = mean / (1.0 - rest1) / (root(square / (1.0 - rest2)) + options["eps"])
        value = value * (1.0 - rate * options["weight_decay"]) - rate * direction
        return (value, mean, square, rest1, rest2), jnp.exp(value)

    start, one = x["log_gain"], jnp.ones((), x["log_gain"].dtype)
    carry = (start, jnp.zeros_like(start), jnp.zeros_like(start), one, one)
    return {"gain": lax.scan(step, carry, x["gradient"])[1]}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.OPTIMIZER_STEP: Implementation(
        _optimizer_step, lambda config, *_: (None, {k: v for k, v in config.items() if k != "optimizer"})
    )
}

"""The pieces of outer optimisers a second time, in numpy."""

from collections.abc import Mapping

import numpy as np

from spec_tests.oracle.newton_schulz import newton_schulz
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Scalar


def muon(
    weight: Array, buffer: Array, gradient: Array, config: Mapping[str, Scalar], sums: Sums = FORWARD
) -> tuple[Array, Array]:
    """Return weight and buffer after one step."""
    rate, momentum, decay = (float(config[key]) for key in ("learning_rate", "momentum", "weight_decay"))
    after = momentum * buffer + gradient
    name, steps = str(config["coefficients"]), int(config["newton_schulz_steps"])
    direction = newton_schulz((gradient + momentum * after)[None], name, steps, sums)[0]
    rows, columns = weight.shape
    return weight - rate * decay * weight - rate * max(1.0, rows / columns) ** 0.5 * direction, after


def low_pass(gradients: Array, alpha: float, strength: float) -> tuple[Array, Array]:
    """Return the moving averages and the filtered gradients."""
    averages = gradients.copy()
    for t in range(1, len(gradients)):
        averages[t] = alpha * averages[t - 1] + (1.0 - alpha) * gradients[t]
    return averages, gradients + strength * averages


def perpendicular(weight: Array, gradient: Array, rescale: bool, sums: Sums = FORWARD) -> Array:
    """Return the part of the gradient that is orthogonal to the weight."""
    square = sums.dot(weight.ravel(), weight.ravel())
    rest = gradient
    if square.real > 0:
        rest = gradient - sums.dot(weight.ravel(), gradient.ravel()) / square * weight
    return np.asarray(rest * sums.norm(gradient) / sums.norm(rest) if rescale else rest)


def largest_logits(queries: Array, keys: Array, sums: Sums = FORWARD) -> Array:
    """Return the largest causal logit of each head."""
    batch, time, heads, dim = queries.shape
    best = np.full(heads, -np.inf, dtype=queries.dtype)
    for row, head in np.ndindex(batch, heads):
        for t in range(time):
            for i in range(t + 1):
                logit = sums.dot(queries[row, t, head], keys[row, i, head]) / np.sqrt(dim).astype(queries.dtype)
                best[head] = logit if logit.real > best[head].real else best[head]
    return best


def clip_factor(maximum: Array, threshold: float) -> Array:
    """Return sqrt(gamma) of each head."""
    return np.array([np.sqrt(threshold / s) if s.real > threshold else 1.0 for s in maximum], dtype=maximum.dtype)

"""The pieces of outer optimisers a second time, in numpy."""

import numpy as np

from spec_tests.oracle.newton_schulz import iteration
from spec_tests.port import Array, Scalar


def muon(weight: Array, buffer: Array, gradient: Array, config: dict[str, Scalar]) -> tuple[Array, Array]:
    """Return weight and buffer after one step."""
    rate, momentum, decay = (float(config[key]) for key in ("learning_rate", "momentum", "weight_decay"))
    after = momentum * buffer + gradient
    direction = iteration(gradient + momentum * after, str(config["coefficients"]), int(config["newton_schulz_steps"]))
    rows, columns = weight.shape
    return weight - rate * decay * weight - rate * max(1.0, rows / columns) ** 0.5 * direction, after


def low_pass(gradients: Array, alpha: float, strength: float) -> tuple[Array, Array]:
    """Return the moving averages and the filtered gradients."""
    averages = gradients.copy()
    for t in range(1, len(gradients)):
        averages[t] = alpha * averages[t - 1] + (1.0 - alpha) * gradients[t]
    return averages, gradients + strength * averages


def perpendicular(weight: Array, gradient: Array, rescale: bool) -> Array:
    """Return the part of the gradient that is orthogonal to the weight."""
    square = (weight * weight).sum()
    rest = gradient - (weight * gradient).sum() / square * weight if square.real > 0 else gradient
    if not rescale:
        return np.asarray(rest)
    return np.asarray(rest * np.sqrt((gradient * gradient).sum()) / np.sqrt((rest * rest).sum()))


def largest_logits(queries: Array, keys: Array) -> Array:
    """Return the largest causal logit of each head."""
    batch, time, heads, dim = queries.shape
    best = np.full(heads, -np.inf)
    for row, head in np.ndindex(batch, heads):
        for t in range(time):
            for i in range(t + 1):
                best[head] = max(best[head], queries[row, t, head] @ keys[row, i, head] / np.sqrt(dim))
    return best


def clip_factor(maximum: Array, threshold: float) -> Array:
    """Return sqrt(gamma) of each head."""
    return np.array([np.sqrt(threshold / s) if s > threshold else 1.0 for s in maximum])

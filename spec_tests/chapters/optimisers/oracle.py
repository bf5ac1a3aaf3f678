"""The pieces of outer optimisers a second time, in numpy."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.newton_schulz.oracle import newton_schulz
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op, Scalar


def muon(
    weight: Array, buffer: Array, gradient: Array, config: Mapping[str, Scalar], sums: Sums = FORWARD
) -> tuple[Array, Array]:
    """Return weight and buffer after one step."""
    rate, momentum, decay = (float(config[key]) for key in ("learning_rate", "momentum", "weight_decay"))
    after = momentum * buffer + gradient
    name, steps = str(config["coefficients"]), int(config["newton_schulz_steps"])
    direction = newton_schulz((gradient + momentum * after)[None], name, steps, sums, str(config["start"]))[0]
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


def largest_logits(queries: Array, keys: Array, sums: Sums = FORWARD, *, causal: bool = True) -> Array:
    """Return the largest logit of each head: of a query and a key up to it, or of all pairs of a row."""
    batch, time, heads, dim = queries.shape
    best = np.full(heads, -np.inf, dtype=queries.dtype)
    for row, head in np.ndindex(batch, heads):
        for t in range(time):
            for i in range(t + 1 if causal else time):
                logit = sums.dot(queries[row, t, head], keys[row, i, head]) / np.sqrt(dim).astype(queries.dtype)
                best[head] = logit if logit.real > best[head].real else best[head]
    return best


def clip_factor(maximum: Array, threshold: float) -> Array:
    """Return sqrt(gamma) of each head."""
    return np.array([np.sqrt(threshold / s) if s.real > threshold else 1.0 for s in maximum], dtype=maximum.dtype)


def largest_in_sight(x: Arrays, window: int, sums: Sums = FORWARD) -> Array:
    """Return the largest logit of each head: of a query and a persistent key, or one of its window and document."""
    keys = np.concatenate([x["cache_keys"], x["keys"]], axis=1)
    batch, time, heads, dim = x["queries"].shape
    best = np.full(heads, -np.inf, dtype=np.result_type(x["queries"], keys))
    for row, t, head in np.ndindex(batch, time, heads):
        newest = window - 1 + t
        ages = range(min(window - 1, int(x["position"][row, t])) + 1)
        for key in (*x["persistent_keys"][:, head], *(keys[row, newest - age, head] for age in ages)):
            logit = sums.dot(x["queries"][row, t, head], key) / np.sqrt(dim).astype(best.dtype)
            best[head] = logit if logit.real > best[head].real else best[head]
    return best


def _muon_step(config: Config, x: Arrays, sums: Sums) -> Arrays:
    weight, buffer = muon(x["weight"], x["buffer"], x["gradient"], config, sums)
    return {"buffer": buffer, "weight": weight}


def _grokfast(config: Config, x: Arrays, _: Sums) -> Arrays:
    averages, filtered = low_pass(x["gradients"], float(config["alpha"]), float(config["strength"]))
    return {"averages": averages, "filtered": filtered}


def _perp_grad(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"filtered": perpendicular(x["weight"], x["gradient"], bool(config["rescale"]), sums)}


def _qk_clip(config: Config, x: Arrays, sums: Sums) -> Arrays:
    maximum = largest_logits(x["queries"], x["keys"], sums, causal=bool(config["causal"]))
    factor = clip_factor(maximum, float(config["threshold"]))[:, None, None]
    weights = {name: factor * x[name] for name in ("query_weight", "key_weight")}
    return {"maximum": maximum, **weights}


def _qk_clip_in_sight(config: Config, x: Arrays, sums: Sums) -> Arrays:
    maximum = largest_in_sight(x, int(config["window"]), sums)
    factor = clip_factor(maximum, float(config["threshold"]))[:, None, None]
    return {"maximum": maximum, **{name: factor * x[name] for name in ("query_weight", "key_weight")}}


ANSWERS: Final[Mapping[Op, Function]] = {
    Op.MUON_STEP: _muon_step,
    Op.GROKFAST: _grokfast,
    Op.PERP_GRAD: _perp_grad,
    Op.QK_CLIP: _qk_clip,
    Op.QK_CLIP_IN_SIGHT: _qk_clip_in_sight,
}

"""Inputs of a step of MuGrokfast: heads above and below the threshold, a vector in its first update."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Scalar

Config = dict[str, Scalar]

CONFIG: Final[Config] = {
    "learning_rate": 0.1,
    "muon_learning_rate": 0.05,
    "factor": 0.5,
    "beta1": 0.8,
    "beta2": 0.9,
    "eps": 1e-3,
    "weight_decay": 0.2,
    "momentum": 0.9,
    "alpha": 0.9,
    "strength": 2.0,
    "perp_grad": False,
    "clip": 1.0,
    "qk_clip": 1.5,
    "average": 0.75,
}


def call(
    seed: int, *, heads: int = 2, dim: int = 2, model: int = 3, updates: tuple[int, int] = (3, 0)
) -> dict[str, Array]:
    """Return generic inputs; the first head has logits above 1.5, the last below."""
    rng = generator(seed)
    shape = (3 * heads * dim, model)
    inputs = {
        name: rng.standard_normal(shape)
        for name in ("projection", "projection_gradient", "projection_slow", "buffer", "projection_average")
    }
    inputs |= {
        name: rng.standard_normal(model)
        for name in ("vector", "vector_gradient", "vector_slow", "mean", "vector_average")
    }
    maximum = np.linspace(3.0123, -1.0, heads) if heads > 1 else np.array([3.0123])
    return {**inputs, "square": rng.uniform(0.1, 1.0, model), "updates": np.array(updates), "maximum": maximum}

"""Inputs of a memory under a schedule: rows out of phase, one that begins a document, borders inside the call."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Scalar

Question = tuple[dict[str, Scalar], dict[str, Array]]
POSITION: Final = (6, 13, 0, 21, 3, 8)


def config(every: int = 3, shard: int = 8, span: str = "shard", **changes: Scalar) -> dict[str, Scalar]:
    """Return a schedule: chunks of 4 whose steps are divided by the 6 of training, a ramp of two crossings."""
    return {
        "chunk": 4,
        "step_chunk": 6,
        "every": every,
        "shard": shard,
        "warmup_crossings": 2,
        "projection_span": span,
        "writes": True,
        **changes,
    }


def call(
    asked: Mapping[str, Scalar],
    seed: int,
    *,
    batch: int = 2,
    time: int = 9,
    heads: int = 2,
    features: int = 3,
    values: int = 2,
    window: int = 2,
    position: tuple[int, ...] = POSITION,
) -> dict[str, Array]:
    """Return a call; row 0 begins a document at its seventh token."""
    rng, every = generator(seed), int(asked["every"])
    shape, reach = (batch, time, heads), window + every - 2
    places = np.array(position[:batch])
    reset = np.zeros((batch, time), dtype=np.int64)
    reset[0, 6:7] = 1
    root = rng.standard_normal((batch, heads, features, features))
    live = np.arange(every - 1, 0, -1) <= (places % every)[:, None]
    matrices = {name: rng.standard_normal((batch, heads, values * features)) for name in ("weights", "anchor")}
    return {
        "keys": rng.standard_normal((*shape, features)),
        "values": rng.standard_normal((*shape, values)),
        "queries": rng.standard_normal((*shape, features)),
        "retention": rng.uniform(0.85, 0.99, shape),
        "momentum_decay": rng.uniform(0.3, 0.85, shape),
        "step_size": rng.uniform(0.5, 1.5, shape),
        "window_weights": rng.uniform(0.2, 1.0, (*shape, window)),
        "reset": reset,
        "initial": rng.standard_normal((heads, values * features)),
        "alpha_logit": np.array(0.7),
        **matrices,
        "momentum": 0.3 * rng.standard_normal((batch, heads, values * features)),
        "window_keys": rng.standard_normal((batch, reach, heads, features)),
        "window_values": rng.standard_normal((batch, reach, heads, values)),
        "waiting": rng.uniform(0.1, 0.5, (batch, every - 1, heads, window)) * live[:, :, None, None],
        "carry": root @ np.swapaxes(root, -1, -2) / features,
        "position": places,
    }

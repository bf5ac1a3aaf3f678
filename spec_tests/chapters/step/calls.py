"""Inputs of training steps: two documents in a row, rows out of phase, moments of earlier updates."""

from typing import Final

import numpy as np

from spec_tests.chapters.blocks.calls import case
from spec_tests.chapters.blocks.covering import lengths
from spec_tests.chapters.blocks.operation import LAYERS, MODEL
from spec_tests.chapters.step.operation import PARAMETERS, STATES
from spec_tests.chapters.step.packed import NAMES
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Scalar

Config = dict[str, Scalar]

CONFIG: Final[Config] = {
    "optimizer": "adamw",
    "inner_grad": "full",
    "carry_state": True,
    "learning_rate": 1e-2,
    "muon_learning_rate": 2e-2,
    "beta1": 0.8,
    "beta2": 0.9,
    "eps": 1e-3,
    "weight_decay": 0.5,
    "momentum": 0.8,
    "alpha": 0.9,
    "strength": 0.5,
    "clip": 1.0,
    "qk_clip": 0.5,
    "warmup_steps": 2,
    "total_steps": 8,
    "min_ratio": 0.1,
    "step0": 1,
}
"""The second update of a run with a warm-up of two. With this eps a step is no sign of a gradient near zero."""


def call(
    seed: int,
    *,
    steps: int = 4,
    time: int = 5,
    positions: tuple[int, ...] = (5, 2),
    heads: int = 1,
    vocabulary: int = 5,
    fresh: bool = False,
    **more: int,
) -> dict[str, Array]:
    """Return inputs of one row a position; in the first row a document begins inside each batch.

    `fresh`: the first update of every parameter, from moments of zero; `more`: other lengths than the smallest.
    """
    batch = len(positions)
    small = {"key": 2, "values": 4 // heads if heads < 3 else 2, "window": 2, "kernel": 2, "tokens": 1} | more
    persistent = {"tokens": small.pop("tokens")}
    sizes = lengths(MODEL, heads=heads, degree=1, **small) | persistent
    sizes |= {"feed": 4, "hidden": 2, "vocabulary": vocabulary, "units": 1}
    drawn = case(Op.LM_FORWARD, {**MODEL, "inner_grad": "full"}, seed, batch=batch, time=time, **sizes)
    inputs = {tensor.name: drawn[tensor.name] for tensor in (*PARAMETERS, *STATES)}
    for layer in LAYERS:
        inputs[f"{layer}position"] = np.array(positions)
    rng = generator(seed + 1)
    numbers = sum(inputs[name].size for name in NAMES)
    inputs["tokens"] = rng.integers(0, vocabulary, (steps, batch, time + 1))
    inputs["reset"] = np.zeros((steps, batch, time + 1), dtype=np.int64)
    inputs["reset"][:, 0, min(2, time)] = 1
    for name in ("slow", "mean"):
        inputs[name] = 0.1 * rng.standard_normal(numbers) * (not fresh)
    inputs["square"] = rng.uniform(0.001, 0.02, numbers) * (not fresh)
    inputs["updates"] = rng.integers(1, 4, len(NAMES)) * (not fresh)
    return inputs

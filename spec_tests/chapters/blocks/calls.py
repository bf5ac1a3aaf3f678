"""Inputs of the block and of what is built from it: generic parameters, state in the middle of documents."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.blocks.operation import LAYERS
from spec_tests.chapters.memory_step.calls import rule
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Scalar

SIZES: Final[Mapping[str, int]] = {
    "batch": 2,
    "time": 9,
    "model": 8,
    "attention": 24,
    "tokens": 2,
    "channels": 16,
    "kernel": 3,
    "gates": 10,
    "degree": 1,
    "heads": 2,
    "key": 2,
    "reads": 8,
    "window": 2,
    "dim": 4,
    "features": 2,
    "values": 4,
    "feed": 8,
    "hidden": 4,
    "units": 3,
    "vocabulary": 7,
}
"""Two heads with keys of 2 and values of 4, as wide together as the model."""


def block_config(name: str = "omega", architecture: str = "matrix", **changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration of the block: chunks of 4, a window of three tokens, the learned gate with a floor."""
    block: dict[str, Scalar] = {
        "span": 3,
        "rope_base": 100.0,
        "gate": "convex",
        "floor": 0.1,
        "norm_eps": 1e-5,
        "step_max": 0.8,
        "basis": "monomial_weighted",
        "projection": "none",
        "inner_grad": "full",
    }
    return {**rule(name, architecture, step_scale="mass"), **block, **changes}


def _shape(axes: tuple[str, ...], config: Mapping[str, Scalar], sizes: Mapping[str, int]) -> tuple[int, ...]:
    hidden = sizes["units"]
    values, features = sizes["values"], sizes["features"]
    parameters = values * features if config["architecture"] == "matrix" else hidden * (values + features)
    lengths = {**sizes, "span": int(config["span"]), "parameters": parameters}
    return tuple(lengths[name] - int(less or 0) for name, _, less in (axis.partition("-") for axis in axes))


def case(op: Op, config: Mapping[str, Scalar], seed: int = 1, **sizes: int) -> dict[str, Array]:
    """Return inputs of the right shapes: a document begins in row 0 at token 4, row 1 has been running."""
    lengths = {**SIZES, **sizes}
    rng, inputs = generator(seed), {}
    for tensor in OPERATIONS[op].inputs:
        shape = _shape(tensor.axes, config, lengths)
        plain = tensor.name.removeprefix(LAYERS[0]).removeprefix(LAYERS[1])
        if tensor.role == "index":
            inputs[tensor.name] = _index(plain, shape, lengths, rng)
        elif plain.endswith("norm"):
            inputs[tensor.name] = rng.uniform(0.5, 1.5, shape)
        elif plain == "coefficients":
            inputs[tensor.name] = 1.0 / np.cumprod(np.arange(1.0, shape[0] + 1.0)) * rng.uniform(0.8, 1.2, shape)
        elif plain == "gates_bias":
            # Retention near one, momentum and step in the middle of their ranges, the window open.
            starts = np.repeat([3.0, 0.3, 0.5, *[1.0] * lengths["window"]], lengths["heads"])
            inputs[tensor.name] = starts + rng.normal(0.0, 0.2, shape)
        else:
            inputs[tensor.name] = rng.standard_normal(shape) * (0.6 if len(shape) > 1 else 1.0)
    return inputs


def _index(name: str, shape: tuple[int, ...], sizes: Mapping[str, int], rng: np.random.Generator) -> Array:
    if name == "position":
        return np.array([5, 10, 5, 10, 5, 10])[: shape[0]]
    if name == "reset":
        reset = np.zeros(shape, dtype=np.int64)
        reset[0, 4:5] = 1
        return reset
    return np.asarray(rng.integers(0, sizes["vocabulary"], shape))

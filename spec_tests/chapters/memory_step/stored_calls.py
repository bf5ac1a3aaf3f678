"""Inputs of the stored memory cases: two heads, four features, three values, and an MLP of three hidden units.

The ranges of gates in which a case is well-posed are those of `calls.py`.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_step.calls import ORTHOGONALISED, directions, gates, width
from spec_tests.drawing.inputs import generator, unit
from spec_tests.port import Array, Scalar
from spec_tests.vectors.source import Family, Source

FEATURES: Final = 4
HEADS: Final = 2
HIDDEN: Final = 3
VALUES: Final = 3
ENDS: Final = np.array([0.0, 1.0])


def matrices(
    config: Mapping[str, Scalar], shape: tuple[int, ...], seed: int, features: int = FEATURES, values: int = VALUES
) -> Array:
    """Return packed matrices [*shape, parameters] whose products keep the scale of what they multiply."""
    rng = generator(seed)
    if config["architecture"] == "matrix":
        return np.asarray(rng.standard_normal((*shape, values * features)) / np.sqrt(features))
    outer = rng.standard_normal((*shape, values * HIDDEN)) / np.sqrt(HIDDEN)
    inner = rng.standard_normal((*shape, HIDDEN * features)) / np.sqrt(features)
    return np.concatenate([outer, inner], axis=-1)


def call(
    config: Mapping[str, Scalar],
    seed: int,
    *,
    position: tuple[int, ...] = (0, 6),
    time: int = 9,
    window: int = 3,
    resets: tuple[tuple[int, int], ...] = (),
    heads: int = HEADS,
    features: int = FEATURES,
    values: int = VALUES,
) -> dict[str, Array]:
    """Return a call whose rows have had `position` tokens of their documents; `resets`: (row, token) that begin one."""
    rng = generator(seed)
    batch, window = len(position), width(config, window)
    shape = (batch, time, heads)
    reset = np.zeros((batch, time), dtype=np.int64)
    for row, t in resets:
        reset[row, t] = 1
    return {
        "keys": directions((*shape, features), seed + 1000),
        "values": rng.standard_normal((*shape, values)),
        "queries": directions((*shape, features), seed + 6000),
        **gates(dict(config), shape, window, seed + 7000),
        "reset": reset,
        "initial": matrices(config, (heads,), seed + 8000, features, values),
        **state(config, seed, np.array(position), window, heads, features, values),
    }


def state(
    config: Mapping[str, Scalar], seed: int, position: Array, window: int, heads: int, features: int, values: int
) -> dict[str, Array]:
    """Return a state in the middle of documents; the window holds zeros where a document has no token yet."""
    batch = len(position)
    live = (np.arange(window - 1, 0, -1) <= position[:, None])[:, :, None, None]
    keys = directions((batch, window - 1, heads, features), seed + 2000)
    old = generator(seed + 2500).standard_normal((batch, window - 1, heads, values))
    return {
        "weights": matrices(config, (batch, heads), seed + 3000, features, values),
        "momentum": 0.5 * matrices(config, (batch, heads), seed + 4000, features, values),
        "anchor": matrices(config, (batch, heads), seed + 5000, features, values),
        "window_keys": np.where(live, keys, 0.0),
        "window_values": np.where(live, old, 0.0),
        "position": position,
    }


def step(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the step of the first token of a call: no axis of time."""
    tokens = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights", "reset")
    return {**inputs, **{name: inputs[name][:, 0] for name in tokens}}


def mixed_ends(inputs: Mapping[str, Array], seed: int, *names: str) -> dict[str, Array]:
    """Return the call with about half of the named gates at exactly 0 or 1."""
    rng = generator(seed)
    changed = {
        name: np.where(rng.random(inputs[name].shape) < 0.5, rng.choice(ENDS, inputs[name].shape), inputs[name])
        for name in names
    }
    return {**inputs, **changed}


def cotangents(inputs: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return a random cotangent for the reads and for every floating-point tensor of the last state."""
    rng = generator(seed)
    names = ("weights", "momentum", "anchor", "window_keys", "window_values")
    shapes = {"reads": inputs["values"].shape, **{name: inputs[name].shape for name in names}}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def at_the_start(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the call at the start of every row's document, with nothing carried on: M = xi = M_0, S = 0."""
    start = np.broadcast_to(inputs["initial"], inputs["weights"].shape)
    nothing = {name: 0 * inputs[name] for name in ("momentum", "window_keys", "window_values", "position")}
    return {**inputs, **nothing, "weights": start, "anchor": start}


def without_retention(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the call with a memory that forgets nothing, and keys and queries of length one."""
    lengths = {name: unit(inputs[name]) for name in ("keys", "queries")}
    return {**inputs, **lengths, "retention": np.ones_like(inputs["retention"])}


def fixed(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the call with the same gates for every token, none of them a window weight, and keys exactly one long."""
    rng = generator(int(inputs["keys"].size))
    exact = {name: rng.choice(np.array([-0.5, 0.5]), inputs[name].shape) for name in ("keys", "queries")}
    gates = {"retention": 1.0, "momentum_decay": 0.625, "step_size": 0.375, "window_weights": 1.0}
    return {**inputs, **exact, **{name: np.full_like(inputs[name], value) for name, value in gates.items()}}


def without_momentum(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the call with a momentum that is nothing and stays so."""
    return {**inputs, **{name: 0.0 * inputs[name] for name in ("momentum", "momentum_decay")}}


def contracting(config: Mapping[str, Scalar]) -> bool:
    """Return whether the rule orthogonalises, so that its gates are drawn from a range in which errors die out."""
    return config["rule"] in ORTHOGONALISED


Inputs = dict[str, Array]

DOCUMENTS: Final = ((0, 4), (0, 6), (1, 3))
"""A document that ends inside a chunk, one of two tokens, and one that begins in another row at another token."""


def cases_over(family: Family, seeds: int) -> Any:
    """Return what makes a case of a family from its number, sentences, reason, rule and changes to the call."""

    def make(number: int, requirements: str, why: str, config: dict[str, Scalar], **changes: Any) -> Source:
        ends = changes.pop("ends", ())
        dead = changes.pop("dead", False)
        turned = changes.pop("turned", ())
        inputs = call(config, seeds + number, **changes)
        for turn in turned:
            inputs = turn(inputs)
        if dead:
            inputs = dead_places(inputs, seeds)
        return family.case(number, requirements, why, config, mixed_ends(inputs, seeds, *ends) if ends else inputs)

    return make


def dead_places(inputs: Inputs, seed: int) -> Inputs:
    """Return the call with something in every place of the window, in those that no token of the document has too."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    filled = {name: rng.standard_normal(inputs[name].shape) for name in ("window_keys", "window_values")}
    return {**inputs, **filled}


PLAIN: Final[dict[str, Any]] = {"window": 1, "position": (5, 6), "time": 7}
"""The plainest memory, with chunk = 1: every token is a chunk and a window of its own."""
PLAINEST: Final[dict[str, Any]] = {"window": 1, "position": (0,), "time": 7, "features": VALUES}
"""The same for one row, with keys as long as values."""
FIXED: Final[dict[str, Any]] = {"window": 1, "position": (0,), "time": 7, "features": 4, "values": 4}
"""For `fixed` keys, whose entries are halves: four of them."""
ALL_GATES: Final = ("retention", "momentum_decay", "step_size", "window_weights")

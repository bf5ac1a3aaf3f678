"""Calls of a hierarchy: rows in the middle of documents and of shards, gates of every memory, memories that differ."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_hierarchical.loop import Hierarchy
from spec_tests.chapters.memory_step import calls as memory
from spec_tests.chapters.memory_step.calls import beginnings, directions
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.contract.driver import Result
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Scalar

TIMED: Final = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights", "reset")
STATE: Final = ("weights", "momentum", "anchor", "carry", "window_keys", "window_values", "position")
OF_A_MEMORY: Final = ("retention", "momentum_decay", "step_size", "window_weights")
LENGTHS: Final = {"batch": 2, "time": 9, "heads": 2, "features": 4, "values": 3, "window": 3, "hidden": 2}
"""The lengths of a call whose own are not named."""
CHUNKS, SHARDS = (4, 2, 3), (0, 4, 6)


def settings(rule: str = "titans", architecture: str = "matrix", **changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration: that of chapter MEM without chunk and read, queries projected on the shard."""
    config = memory.rule(rule, architecture, **changes)
    return {"projection_span": "shard", **{key: value for key, value in config.items() if key not in ("chunk", "read")}}


def grid() -> Iterator[dict[str, Scalar]]:
    """Yield configurations in which every value of every key stands."""
    yield settings()
    yield settings("omega", projection_span="chunk", step_scale="mass", boundary="truncate")
    yield settings("delta", "mlp", projection_span="document", loss_scale=1.0)
    yield settings("atlas", projection_span="none", coefficients="polar_express", newton_schulz_steps=2)
    yield settings("atlas_appendix", "mlp", step_scale="mass", momentum_max=0.6, newton_schulz_steps=2)
    yield settings("titans", "mlp", step_scale="mass", momentum_max=0.6)


def case(
    config: Config,
    *,
    chunks: tuple[int, ...] = CHUNKS,
    shards: tuple[int, ...] = SHARDS,
    seed: int = 1,
    document: int = 100,
    **lengths: int,
) -> dict[str, Array]:
    """Return a call, its first row at the very start of a document, the others inside one, out of phase."""
    batch, time, heads, features, values, window, hidden = ({**LENGTHS, **lengths}[axis] for axis in LENGTHS)
    rng, window = generator(seed), memory.width(config, window)
    tokens, carried = (batch, time, heads), (batch, len(chunks), heads)
    position = rng.integers(7, 40, batch)
    position[0] = 0
    made = memory.gates({**config, "chunk": max(chunks)}, (batch, time, len(chunks), heads), window, seed + 3)
    past = rng.standard_normal((batch, len(chunks) - 1, heads, features, features + 2))
    # Queries that Pi makes longer, of shards and documents that have many keys, read in the same scale.
    length = 1.0 if config["projection_span"] == "none" else 0.5
    drawn = {
        "keys": directions((*tokens, features), seed + 1),
        "values": rng.standard_normal((*tokens, values)),
        "queries": length * directions((*tokens, features), seed + 2),
        **made,
        "reset": beginnings(batch, time, document, rng),
        "chunks": np.array(chunks),
        "shards": np.array(shards),
        "initial": _packed(config, carried[1:], seed + 4, features, values, hidden),
        "weights": _packed(config, carried, seed + 5, features, values, hidden),
        "momentum": 0.3 * _packed(config, carried, seed + 6, features, values, hidden),
        "anchor": _packed(config, carried, seed + 7, features, values, hidden),
        "carry": np.einsum("bmhfn,bmhgn->bmhfg", past, past) / (features + 2),
        "window_keys": directions((batch, window - 1, heads, features), seed + 9),
        "window_values": rng.standard_normal((batch, window - 1, heads, values)),
        "position": position,
    }
    return representable(Op.MEMORY_HIERARCHICAL, drawn)


def _packed(config: Config, shape: tuple[int, ...], seed: int, features: int, values: int, hidden: int) -> Array:
    """Return packed matrices whose products keep the scale of what they multiply."""
    rng = generator(seed)
    if config["architecture"] == "matrix":
        return np.asarray(rng.standard_normal((*shape, values * features)) / np.sqrt(features))
    outer = rng.standard_normal((*shape, values * hidden)) / np.sqrt(hidden)
    return np.concatenate([outer, rng.standard_normal((*shape, hidden * features)) / np.sqrt(features)], axis=-1)


def inside(config: Config, seed: int, position: tuple[int, ...] = (13, 26), **lengths: Any) -> dict[str, Array]:
    """Return a call inside documents: no row begins one."""
    inputs = case(config, seed=seed, **lengths)
    return inputs | {"reset": 0 * inputs["reset"], "position": np.array(position[: len(inputs["position"])])}


def tokens(inputs: dict[str, Array], piece: slice) -> dict[str, Array]:
    """Return the call that holds only the tokens of `piece`."""
    return {**inputs, **{name: inputs[name][:, piece] for name in TIMED}}


def silent(inputs: dict[str, Array], *memories: int) -> dict[str, Array]:
    """Return the call with memories that hold nothing and never learn anything, for an architecture of one matrix."""
    axes = {"step_size": 2, "initial": 0, "weights": 1, "momentum": 1, "anchor": 1}
    changed = {name: np.moveaxis(inputs[name].copy(), axis, 0) for name, axis in axes.items()}
    for value in changed.values():
        value[list(memories)] = 0.0
    return {**inputs, **{name: np.moveaxis(value, 0, axes[name]) for name, value in changed.items()}}


def cotangents(inputs: dict[str, Array], seed: int) -> dict[str, Array]:
    """Return a random cotangent of the reads and of every matrix of the state."""
    rng = generator(seed)
    shapes = {"reads": inputs["values"].shape} | {name: inputs[name].shape for name in STATE[:4]}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def assert_loop(result: Result, config: Config) -> None:
    """Assert that every output of a call is that of the loop."""
    for name, value in Hierarchy(config).run(result.inputs).items():
        result.assert_close(name, value)

"""Stored calls of a hierarchy that meet every two values of the configuration, and calls of every size."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_hierarchical.calls import case, cotangents, inside, settings
from spec_tests.chapters.memory_step.calls import ARCHITECTURES, RULES
from spec_tests.drawing.pairwise import covering
from spec_tests.port import Array, Scalar
from spec_tests.vectors.source import Family, Source

Config = dict[str, Scalar]

AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "rule": RULES,
    "architecture": ARCHITECTURES,
    "projection_span": ("shard", "chunk", "document", "none"),
    "boundary": ("carry", "truncate"),
    "loss_scale": (0.5, 1.0),
    "step_scale": ("literal", "mass"),
    "momentum_max": (0.9, 0.6, 0.0),
    "coefficients": ("quintic", "cubic", "polar_express"),
    "newton_schulz_steps": (2, 1, 0),
}
_SMALL: Final[Mapping[str, Any]] = {"time": 5, "heads": 1, "features": 3, "window": 2}
_CHUNKS: Final[Mapping[str, Any]] = {"chunks": (3, 2), "shards": (0, 4)}


def few() -> Iterator[Config]:
    """Yield five configurations, one a rule, in which every value of every key stands."""
    for number in range(len(RULES)):
        yield _config({name: values[number % len(values)] for name, values in AXES.items()})


def _config(cell: Mapping[str, Any]) -> Config:
    options = {name: value for name, value in cell.items() if name not in ("rule", "architecture")}
    return settings(cell["rule"], cell["architecture"], **options)


def _words(config: Config) -> str:
    return " ".join(str(value) for value in config.values())


def covering_cases(family: Family, first: int, seed: int) -> Iterator[Source]:
    """Yield a case for every cell, two rows inside documents or at their start; every fourth has square memories."""
    for number, cell in enumerate(covering(AXES)):
        config = _config(cell)
        values = 3 if number % 4 == 3 else 2
        inputs = case(config, seed=seed + 20 * number, document=4, values=values, **_SMALL, **_CHUNKS)
        why = f"covering: {_words(config)}"
        yield family.case(first + number, "HIER-1 HIER-2 HIER-3 HIER-6", why, config, inputs)


def covering_gradients(family: Family, first: int, seed: int) -> Iterator[Source]:
    """Yield a case a rule that asks for every gradient: a border of shards is crossed, no document begins."""
    for number, config in enumerate(few()):
        drawn = seed + 20 * number
        inputs = inside(config, drawn, (3, 8), values=2, **_SMALL, **_CHUNKS)
        why = f"covering, gradients: {_words(config)}"
        yield family.case(first + number, "HIER-7", why, config, inputs, cotangents(inputs, drawn + 19))


def sized_cases(family: Family, first: int, seed: int) -> Iterator[Source]:
    """Yield three cases: a long one from far with a dozen documents, a wide MLP, many heads and rows."""
    calls = (
        ("a row from beyond position 100,000 with a dozen documents", settings("titans", step_scale="mass"), _long),
        ("twenty features, twelve values, twenty hidden units", settings("titans", "mlp", step_scale="mass"), _wide),
        ("five heads of six rows, at positions near and far", settings("omega", step_scale="mass"), _many),
    )
    for number, (why, config, draw) in enumerate(calls):
        inputs = draw(config, seed + 20 * number)
        yield family.case(first + number, "HIER-1 HIER-2 HIER-3 HIER-6 HIER-8", why, config, inputs, traced=False)


def _long(config: Config, seed: int) -> dict[str, Array]:
    lengths: dict[str, Any] = {"batch": 1, "time": 70, "heads": 1, "features": 17, "values": 9}
    inputs = inside(config, seed, (100_003,), chunks=(16, 4), shards=(0, 12), **lengths)
    inputs["reset"][0, np.linspace(23, 68, 12).astype(int)] = 1
    # Pi holds at most twelve keys.
    return inputs | {"queries": inputs["queries"] / 4.0}


def _wide(config: Config, seed: int) -> dict[str, Array]:
    lengths: dict[str, Any] = {"batch": 1, "time": 5, "heads": 1, "features": 20, "values": 12, "hidden": 20}
    return inside(config, seed, (7,), **_CHUNKS, **lengths)


def _many(config: Config, seed: int) -> dict[str, Array]:
    lengths: dict[str, Any] = {"batch": 6, "time": 3, "heads": 5, "features": 4, "values": 3}
    inputs = case(config, seed=seed, document=2, **_CHUNKS, **lengths)
    return inputs | {"position": np.array([0, 1, 7, 1_000, 4_099, 100_000])}

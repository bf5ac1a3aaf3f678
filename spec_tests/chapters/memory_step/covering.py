"""Stored calls that meet every two values of the configuration, and calls of every size; for all forms of the memory.

The cells of the grid are small: two rows of one head, five tokens over two borders of chunks. Numbers stay well-posed
(`calls.py`): where a rule orthogonalises and its coefficients magnify small singular values, it takes few steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_step.calls import ARCHITECTURES, RULES, directions, gates, rule, width
from spec_tests.chapters.memory_step.stored_calls import cotangents, step
from spec_tests.drawing.inputs import generator
from spec_tests.drawing.pairwise import covering
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.source import Family, Source

Config = dict[str, Scalar]

AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "rule": RULES,
    "architecture": ARCHITECTURES,
    "chunk": (2, 3),
    "boundary": ("carry", "truncate"),
    "read": ("post", "pre"),
    "loss_scale": (0.5, 1.0),
    "step_scale": ("literal", "mass"),
    "momentum_max": (0.9, 0.6, 0.0),
    "coefficients": ("quintic", "cubic", "polar_express"),
    "newton_schulz_steps": (2, 1, 0),
}


@cache
def cells() -> tuple[Config, ...]:
    """Return configurations in which every two values of every two keys meet."""
    return tuple(_config(cell) for cell in covering(AXES))


@cache
def few_cells() -> tuple[Config, ...]:
    """Return five configurations, one a rule, in which every value of every key stands."""
    return tuple(
        _config({name: values[number % len(values)] for name, values in AXES.items()}) for number in range(len(RULES))
    )


def _config(cell: Mapping[str, Any]) -> Config:
    options = {name: value for name, value in cell.items() if name not in ("rule", "architecture")}
    return rule(cell["rule"], cell["architecture"], **options)


def describe(config: Mapping[str, Scalar]) -> str:
    """Return a configuration in words, for the reason of a case."""
    return " ".join(str(value) for value in config.values())


@dataclass(frozen=True)
class Size:
    """The lengths of a call: how many tokens, heads, features, values and hidden units, and the window."""

    time: int
    heads: int
    features: int
    values: int
    hidden: int = 3
    window: int = 3


CELL: Final = Size(time=5, heads=1, features=3, values=2)
SQUARE: Final = Size(time=5, heads=1, features=3, values=3)
HEAD: Final = Size(time=128, heads=1, features=64, values=64)
"""One head of a model of usual width, eight chunks of sixteen tokens."""
HALF: Final = Size(time=128, heads=1, features=64, values=32)
QUARTER: Final = Size(time=128, heads=1, features=64, values=16)
"""The same with fewer values, where derivatives or a second form would fill the store."""
WIDE: Final = Size(time=5, heads=1, features=20, values=12, hidden=20)
MANY: Final = Size(time=3, heads=5, features=4, values=3)
LONG: Final = Size(time=70, heads=1, features=17, values=9)


def sized_call(
    config: Mapping[str, Scalar],
    seed: int,
    size: Size,
    position: tuple[int, ...] = (0, 7),
    resets: tuple[tuple[int, int], ...] = ((1, 3),),
) -> dict[str, Array]:
    """Return a call of a size whose rows have had `position` tokens of their documents."""
    rng, batch, window = generator(seed), len(position), width(config, size.window)
    shape = (batch, size.time, size.heads)
    reset = np.zeros(shape[:2], dtype=np.int64)
    for row, t in resets:
        reset[row, t] = 1
    live = (np.arange(window - 1, 0, -1) <= np.array(position)[:, None])[:, :, None, None]
    past = (batch, window - 1, size.heads)
    carried = (batch, size.heads)
    return {
        "keys": directions((*shape, size.features), seed + 1),
        "values": rng.standard_normal((*shape, size.values)),
        "queries": directions((*shape, size.features), seed + 2),
        **gates(dict(config), shape, window, seed + 3),
        "reset": reset,
        "initial": matrices(config, size, (size.heads,), seed + 4),
        "weights": matrices(config, size, carried, seed + 5),
        "momentum": 0.5 * matrices(config, size, carried, seed + 6),
        "anchor": matrices(config, size, carried, seed + 7),
        "window_keys": np.where(live, directions((*past, size.features), seed + 8), 0.0),
        "window_values": np.where(live, rng.standard_normal((*past, size.values)), 0.0),
        "position": np.array(position),
    }


def matrices(config: Mapping[str, Scalar], size: Size, shape: tuple[int, ...], seed: int) -> Array:
    """Return packed matrices [*shape, parameters] whose products keep the scale of what they multiply."""
    rng = generator(seed)
    if config["architecture"] == "matrix":
        return np.asarray(rng.standard_normal((*shape, size.values * size.features)) / np.sqrt(size.features))
    outer = rng.standard_normal((*shape, size.values * size.hidden)) / np.sqrt(size.hidden)
    inner = rng.standard_normal((*shape, size.hidden * size.features)) / np.sqrt(size.features)
    return np.concatenate([outer, inner], axis=-1)


def covered(seed: int) -> Iterator[tuple[Config, dict[str, Array]]]:
    """Yield every cell with a call, every fourth with as many features as values."""
    for number, config in enumerate(cells()):
        yield config, sized_call(config, seed + 20 * number, SQUARE if number % 4 == 3 else CELL)


def sentences(config: Mapping[str, Scalar]) -> str:
    """Return the sentences that say what a configuration means."""
    by_rule = {"delta": "RULE-4", "atlas": "RULE-2 RULE-11", "atlas_appendix": "RULE-3 RULE-11"}
    window = "WIN-3" if config["boundary"] == "carry" else "WIN-4"
    mass = " RULE-9 RULE-10" if config["step_scale"] == "mass" else ""
    return f"MEM-1 MEM-4 {window} {by_rule.get(str(config['rule']), 'RULE-1')} RULE-6{mass}"


def covering_cases(family: Family, first: int, seed: int, **extra: Any) -> Iterator[Source]:
    """Yield a case for every cell, numbered from `first`; `extra` keys of the configuration are one value a cell."""
    for number, (config, inputs) in enumerate(covered(seed)):
        config = config | {name: values[number % len(values)] for name, values in extra.items()}
        given = step(inputs) if family.op is Op.MEMORY_STEP else inputs
        yield family.case(first + number, sentences(config), f"covering: {describe(config)}", config, given)


def covering_gradients(
    family: Family,
    first: int,
    seed: int,
    configs: Iterable[Config],
    requirements: str = "GRAD-1 GRAD-2 GRAD-3",
    redrawn: tuple[int, ...] = (),
) -> Iterator[Source]:
    """Yield a case a configuration that asks for every gradient, from a cotangent of every floating-point output.

    `redrawn`: the cells that are drawn once more, because in the first call the parts of a gradient cancel, and what is
    left is the rounding of the activations.
    """
    for number, config in enumerate(configs):
        inputs = sized_call(config, seed + 20 * number + 10 * (number in redrawn), CELL)
        given = step(inputs) if family.op is Op.MEMORY_STEP else inputs
        why = f"covering, gradients: {describe(config)}"
        yield family.case(first + number, requirements, why, config, given, cotangents(given, seed + 20 * number + 9))


def sized_cases(family: Family, first: int, seed: int, **extra: Scalar) -> Iterator[Source]:
    """Yield three cases: a long one from far with a dozen documents, a wide MLP, many heads and rows."""
    long = rule("omega", chunk=16, step_scale="mass") | extra
    wide = rule("titans", "mlp", chunk=2) | extra
    many = rule("omega", chunk=2) | extra
    far = "a row from beyond position 100,000 with a dozen documents, chunks of sixteen"
    calls = (
        (far, long, long_call(long, seed, LONG)),
        (
            "twenty features, twelve values, twenty hidden units",
            wide,
            sized_call(wide, seed + 20, WIDE, (7,), ((0, 3),)),
        ),
        ("five heads of six rows, at positions near and far", many, many_heads(many, seed + 40)),
    )
    for number, (why, config, inputs) in enumerate(calls):
        given = step(inputs) if family.op is Op.MEMORY_STEP else inputs
        yield family.case(first + number, f"MEM-8 {sentences(config)}", why, config, given, traced=False)


def long_call(config: Mapping[str, Scalar], seed: int, size: Size) -> dict[str, Array]:
    """Return a row that comes from far and holds a dozen documents after its first."""
    starts = np.linspace(size.time // 3, size.time - 2, 12).astype(int)
    return sized_call(config, seed, size, (100_003,), tuple((0, int(t)) for t in starts))


def many_heads(config: Mapping[str, Scalar], seed: int) -> dict[str, Array]:
    """Return five heads of six rows, at positions near and far."""
    return sized_call(config, seed, MANY, (0, 1, 7, 1_000, 4_099, 100_000), ((2, 1), (3, 2)))

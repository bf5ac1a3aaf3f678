"""Stored calls of the block and of the model: every two values of the configuration meet, and every size is asked.

Whoever ignores a key of the block passes where the key has one value only. The cells are small; where derivatives are
asked they are smaller still, because the loops take them one entry at a time.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from math import comb
from typing import Any, Final

import numpy as np

from spec_tests.chapters.blocks.calls import block_config, case
from spec_tests.chapters.blocks.operation import LAYERS
from spec_tests.chapters.memory_step.calls import ARCHITECTURES, RULES
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import normal
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
    "step_scale": ("mass", "literal"),
    "momentum_max": (0.9, 0.6),
    "coefficients": ("quintic", "cubic", "polar_express"),
    "newton_schulz_steps": (2, 1),
    "span": (3, 1),
    "rope_base": (100.0, 10000.0),
    "gate": ("convex", "source"),
    "floor": (0.1, 0.0),
    "norm_eps": (1e-5, 1e-2),
    "step_max": (0.8, 0.3),
    "basis": ("monomial_weighted", "monomial", "kronecker", "elementwise"),
    "projection": ("frobenius_tanh", "tnt", "none"),
    "inner_grad": ("full", "detached"),
}


@cache
def cells() -> tuple[Config, ...]:
    """Return configurations in which every two values of every two keys meet."""
    return tuple(block_config(cell["rule"], cell["architecture"], **_options(cell)) for cell in covering(AXES))


@cache
def few_cells() -> tuple[Config, ...]:
    """Return five configurations, one a rule, in which every name stands; one of them has detached reads."""
    chosen = [{name: values[number % len(values)] for name, values in AXES.items()} for number in range(len(RULES))]
    for number, cell in enumerate(chosen):
        cell["inner_grad"] = "detached" if number == 1 else "full"
    return tuple(block_config(cell["rule"], cell["architecture"], **_options(cell)) for cell in chosen)


def _options(cell: Mapping[str, Any]) -> Config:
    return {name: value for name, value in cell.items() if name not in ("rule", "architecture")}


def describe(config: Mapping[str, Scalar]) -> str:
    """Return a configuration in words, for the reason of a case."""
    return " ".join(str(value) for value in config.values())


def features(basis: str, key: int, degree: int) -> int:
    """Return the number of features of a basis (chapter FEAT)."""
    if basis == "elementwise":
        return key
    return sum(key**i for i in range(1, degree + 1)) if basis == "kronecker" else comb(key + degree, degree) - 1


def lengths(
    config: Mapping[str, Scalar], *, heads: int, key: int, values: int, degree: int, window: int, kernel: int
) -> dict[str, int]:
    """Return the lengths of all axes that follow from a few; heads together are as wide as the model."""
    window = 1 if config["rule"] == "delta" else window
    return {
        "model": heads * values,
        "attention": 3 * heads * values,
        "channels": heads * (2 * key + values),
        "kernel": kernel,
        "gates": heads * (3 + window),
        "degree": degree,
        "heads": heads,
        "key": key,
        "reads": heads * values,
        "window": window,
        "dim": values,
        "features": features(str(config["basis"]), key, degree),
        "values": values,
    }


def cell_lengths(config: Mapping[str, Scalar], number: int) -> dict[str, int]:
    """Return one of two shapes for a cell."""
    if number % 2:
        return lengths(config, heads=1, key=3, values=4, degree=1, window=3, kernel=2) | {"tokens": 2}
    return lengths(config, heads=2, key=2, values=2, degree=2, window=2, kernel=3) | {"tokens": 1}


def call(op: Op, config: Mapping[str, Scalar], seed: int, position: tuple[int, ...], **sizes: int) -> dict[str, Array]:
    """Return inputs of one row a position, each the number of tokens that the row's document has had."""
    inputs = case(op, config, seed, batch=len(position), **sizes)
    for prefix in LAYERS if op is Op.LM_FORWARD else ("",):
        inputs[f"{prefix}position"] = np.array(position)
    return inputs


def sentences(config: Mapping[str, Scalar]) -> str:
    """Return the sentences of the block that a configuration asks for."""
    return "BLOCK-1 BLOCK-4 BLOCK-5" + ("" if config["projection"] == "none" else " BLOCK-6")


def covering_cases(family: Family, seed: int, requirements: str = "") -> Iterator[Source]:
    """Yield a case for every cell, numbered from 101."""
    for number, config in enumerate(cells()):
        inputs = call(family.op, config, seed + 20 * number, (5, 10), time=5, **cell_lengths(config, number))
        held = requirements or sentences(config)
        yield family.case(101 + number, held, f"covering: {describe(config)}", config, inputs)


def covering_gradients(family: Family, seed: int, requirements: str, begins: tuple[int, ...] = ()) -> Iterator[Source]:
    """Yield a case a rule, numbered from 151, that asks for every gradient, from a cotangent of every output.

    In the cases `begins` the call enters inside a chunk, and its last token begins a document.
    """
    for number, config in enumerate(few_cells()):
        sizes = lengths(config, heads=1, key=2, values=2, degree=2, window=2, kernel=2)
        small = {"tokens": 1, "units": 2, "feed": 2, "hidden": 1, "vocabulary": 3, "time": 3}
        inputs = call(family.op, config, seed + 20 * number, (6 + (number in begins),), **sizes, **small)
        inputs["reset"] = 0 * inputs["reset"]
        inputs["reset"][0, -1] = number in begins
        asked = _cotangents(family.op, inputs, config, seed + 20 * number + 1)
        why = f"covering, gradients: {describe(config)}"
        yield family.case(151 + number, requirements, why, config, inputs, asked)


def _cotangents(op: Op, inputs: Mapping[str, Array], config: Mapping[str, Scalar], seed: int) -> dict[str, Array]:
    """Return a random cotangent of every floating-point output; where reads are detached, of what is no state alone.

    What detached reads leave to a state that is handed on, the specification does not say (BLOCK-10).
    """
    drawn = {}
    for number, tensor in enumerate(OPERATIONS[op].outputs):
        if tensor.role != "index" and (config["inner_grad"] == "full" or tensor.name not in inputs):
            last = {"y": inputs.get("x"), "logits": inputs.get("embedding")}.get(tensor.name, inputs.get(tensor.name))
            assert last is not None
            shape = (*inputs["reset"].shape, len(last)) if tensor.name == "logits" else last.shape
            drawn[tensor.name] = normal(seed + number, *shape)
    return drawn


def sized_cases(family: Family, seed: int, requirements: str) -> Iterator[Source]:
    """Yield three cases, numbered from 161: a long wide row from far, many heads and rows, one head of several rows."""
    # With this base every angle is a whole number of tokens over a power of four: exact in single precision too.
    long = block_config("omega", "mlp", chunk=16, basis="elementwise", rope_base=4096.0, projection="tnt")
    sizes = lengths(long, heads=1, key=20, values=12, degree=1, window=2, kernel=3)
    inputs = call(family.op, long, seed, (100_003,), time=70, units=20, feed=40, hidden=20, **sizes)
    inputs["reset"] = (np.arange(70) >= 20).astype(np.int64)[None] * (np.arange(70) % 4 == 0)
    yield family.case(161, requirements, "a wide row from beyond position 100,000, a dozen documents", long, inputs)
    many = block_config("titans", chunk=2, basis="elementwise")
    sizes = lengths(many, heads=5, key=2, values=2, degree=1, window=2, kernel=2)
    inputs = call(family.op, many, seed + 1, (0, 1, 7, 1_000, 4_099, 3), time=2, **sizes)
    yield family.case(162, requirements, "five heads of six rows", many, inputs)
    one = block_config("titans", "mlp", projection="frobenius_tanh", basis="elementwise")
    sizes = lengths(one, heads=1, key=2, values=2, degree=1, window=2, kernel=2)
    inputs = call(family.op, one, seed + 2, (0, 1, 7), time=5, **sizes)
    yield family.case(163, requirements, "one head of three rows, as many features as values", one, inputs)

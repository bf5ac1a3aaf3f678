"""The grid on which the parallel form of the memory must equal the recurrence, and how one of its cells is measured.

Every cell has three rows out of phase, resets anywhere in each row, keys lifted by the cell's features, and gates in
the ranges of `memory_step/calls.py`. `test_memory_chunked.py` runs a covering selection, `benchmarks/equivalence.py`
all.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_step.calls import (
    ARCHITECTURES,
    ORTHOGONALISED,
    RULES,
    case,
    directions,
    expected,
    rule,
    worst,
)
from spec_tests.chapters.memory_step.loop import STATE, Inputs
from spec_tests.contract.driver import Result, run_with_gradients
from spec_tests.contract.properties import representable, run_in_pieces
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port

Cell = Mapping[str, Any]

AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "rule": RULES,
    "architecture": ARCHITECTURES,
    "time": (0, 1, 7, 64, 257),
    "chunk": (1, 4, 16, "T", "T+3"),
    "window": (1, 2, 8),
    "basis": ("monomial_weighted", "monomial", "kronecker", "elementwise"),
    "boundary": ("carry", "truncate"),
    "read": ("post", "pre"),
    "loss_scale": (0.5, 1.0),
    "step_scale": ("literal", "mass"),
}
RAW_DIM: Final = 3
EQUAL: Final = 1e-10
"""Largest error allowed between the two forms in float64, relative to the largest entry of a tensor."""


def configuration(cell: Cell) -> dict[str, Any]:
    """Return the configuration of a cell; chunks of T and T+3 tokens become numbers, and a chunk has one at least."""
    lengths = {"T": max(1, cell["time"]), "T+3": cell["time"] + 3}
    chunk: int = lengths.get(cell["chunk"]) or cell["chunk"]
    options = {name: cell[name] for name in ("boundary", "read", "loss_scale", "step_scale")}
    return rule(cell["rule"], cell["architecture"], chunk=chunk, **options)


def lifted(basis: str, shape: tuple[int, ...], seed: int) -> Array:
    """Return features of degree 1 and 2 of random vectors, 0.6 to 1.4 long: [*shape, features] (chapter FEAT)."""
    x = directions((*shape, RAW_DIM), seed)
    if basis == "elementwise":
        features = 1.0 + x + 0.5 * x**2
    else:
        products = np.sqrt(0.5) * x[..., :, None] * x[..., None, :]
        rows, columns = np.triu_indices(RAW_DIM)
        weights = np.where(rows == columns, 1.0, np.sqrt(2.0)) if basis == "monomial_weighted" else 1.0
        squares = (
            products.reshape(*shape, RAW_DIM**2) if basis == "kronecker" else weights * products[..., rows, columns]
        )
        features = np.concatenate([x, squares], axis=-1)
    lengths = np.sqrt((x**2).sum(-1, keepdims=True) / (features**2).sum(-1, keepdims=True))
    return np.asarray(features * lengths)


def call(cell: Cell, seed: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return configuration and inputs of a cell."""
    config = configuration(cell)
    document = (20, 200)[seed % 2]
    if cell["rule"] in ORTHOGONALISED and cell["architecture"] == "mlp":
        # Well-posed in documents of few chunks only (memory_step/calls.py).
        document = min(document, max(8, 3 * config["chunk"] // 2))
    time = cell["time"]
    features = lifted(cell["basis"], (1,), seed).shape[-1]
    inputs = case(config, batch=3, time=time, window=cell["window"], seed=seed, document=document, features=features)
    past = inputs["window_keys"]
    inputs["keys"] = lifted(cell["basis"], inputs["keys"].shape[:-1], seed + 10)
    inputs["queries"] = lifted(cell["basis"], inputs["queries"].shape[:-1], seed + 20)
    inputs["window_keys"] = np.where(past != 0.0, lifted(cell["basis"], past.shape[:-1], seed + 30), 0.0)
    return config, representable(Op.MEMORY_CHUNKED, inputs)


def cotangents(inputs: Inputs, seed: int) -> dict[str, Array]:
    """Return a random cotangent for the reads and for every tensor of the final state."""
    rng = generator(seed)
    shapes = {"reads": inputs["values"].shape, **{name: inputs[name].shape for name in STATE[:-1]}}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def gradients(result: Result) -> dict[str, Array]:
    """Return the gradients among the outputs."""
    return {name: value for name, value in result.outputs.items() if name.startswith("grad.")}


def pieces(time: int, chunk: int, seed: int) -> list[slice]:
    """Return three calls that cover the sequence, cut at random places: mid-chunk unless chunks have one token."""
    cuts = sorted(int(cut) for cut in generator(seed).integers(0, time + 1, 2))
    if time > chunk > 1 and cuts[0] % chunk == 0:
        cuts[0] = max(0, cuts[0] - 1)
    return [slice(0, cuts[0]), slice(cuts[0], cuts[1]), slice(cuts[1], time)]


def errors(
    port: Port, cell: Cell, seed: int, numerics: Numerics = Numerics.F64, recurrence: Port | None = None
) -> dict[str, float]:
    """Return the worst relative errors of the parallel form in one cell, against a recurrence, its own unless named.

    outputs, split, gradients: against the recurrence, in one call and in three; loop: outputs against the numpy loop.
    """
    config, inputs = call(cell, seed)
    asked = cotangents(inputs, seed)
    wanted = run_with_gradients(recurrence or port, Op.MEMORY_SCAN, numerics, inputs, asked, **config)
    actual = run_with_gradients(port, Op.MEMORY_CHUNKED, numerics, inputs, asked, **config)
    parts = pieces(cell["time"], config["chunk"], seed)
    split = run_in_pieces(port, Op.MEMORY_CHUNKED, numerics, inputs, parts, **config)
    outputs = {name: wanted[name] for name in ("reads", *STATE)}
    return {
        "outputs": worst(actual.outputs, outputs),
        "split": worst(split, outputs),
        "gradients": worst(actual.outputs, gradients(wanted)),
        "loop": worst(actual.outputs, expected(config, inputs)),
    }


def describe(cell: Cell) -> str:
    """Return a cell on one line."""
    return " ".join(f"{name}={value}" for name, value in cell.items())

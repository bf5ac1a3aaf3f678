"""Inputs of the blocks MAL and LMM."""

from collections.abc import Mapping

import numpy as np

from spec_tests.chapters.blocks.calls import case
from spec_tests.chapters.blocks.covering import lengths
from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Array, Op, Scalar


def config(**changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration of MAL: chunks of two, one residual around both."""
    usual: dict[str, Scalar] = {"chunk": 2, "inner_residual": False, "inner_grad": "full"}
    return {**usual, **changes}


def call(
    op: Op,
    seed: int,
    position: tuple[int, ...] = (5, 10),
    *,
    span: int = 3,
    heads: int = 2,
    key: int = 3,
    values: int = 4,
    degree: int = 1,
    window: int = 3,
    kernel: int = 3,
    tokens: int = 2,
    time: int = 9,
) -> dict[str, Array]:
    """Return a call: row 0 begins a document at token 4."""
    block = {**MODEL, "span": span, "inner_grad": "full"}
    shape = lengths(block, heads=heads, key=key, values=values, degree=degree, window=window, kernel=kernel)
    inputs = case(op, block, seed, batch=len(position), tokens=tokens, time=time, **shape)
    return {**inputs, "position": np.array(position)}


def unmarked(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return a call in which nothing begins."""
    return {**inputs, "reset": 0 * inputs["reset"]}


CLOSED = -1e3
"""A bias whose sigmoid is zero in every precision."""


def unwritten(op: Op, seed: int) -> dict[str, Array]:
    """Return documents from their first token, over a memory of zeros whose steps are zero."""
    inputs = unmarked(call(op, seed, (0, 0)))
    (heads, _), state = inputs["log_gain"].shape, [tensor.name for tensor in OPERATIONS[op].outputs]
    empty = {name: 0 * inputs[name] for name in ("initial", *state) if name in inputs}
    weight, bias = inputs["gates_weight"].copy(), inputs["gates_bias"].copy()
    weight[2 * heads : 3 * heads], bias[2 * heads : 3 * heads] = 0.0, CLOSED
    return {**inputs, **empty, "gates_weight": weight, "gates_bias": bias}

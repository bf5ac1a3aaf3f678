"""Inputs of MAC: rows in the middle of segments, caches full of what no token may see."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.blocks.calls import case
from spec_tests.chapters.blocks.covering import lengths
from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.port import Array, Op, Scalar

MAC: Final = Op.MAC_BLOCK
SPAN: Final = 4
"""Tokens of a segment in most calls: rows enter at the second and at the third of one."""


def config(**changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration: chunks of two, rows of the tokens themselves, the learned gate."""
    usual: dict[str, Scalar] = {
        "chunk": 2,
        "rows": "causal",
        "write_from": "attention",
        "gate": "convex",
        "inner_grad": "full",
    }
    return {**usual, **changes}


def call(
    seed: int,
    position: tuple[int, ...] = (5, 10),
    *,
    span: int = SPAN,
    heads: int = 2,
    key: int = 3,
    values: int = 4,
    degree: int = 1,
    window: int = 3,
    kernel: int = 3,
    learned: int = 3,
    tokens: int = 2,
    time: int = 9,
) -> dict[str, Array]:
    """Return a call: row 0 begins a document at token 4."""
    block = {**MODEL, "span": span, "inner_grad": "full"}
    shape = lengths(block, heads=heads, key=key, values=values, degree=degree, window=window, kernel=kernel)
    more = {"asking": heads * key, "asked": 2 * span - 1, "learned": learned, "tokens": tokens, "time": time}
    inputs = case(MAC, block, seed, batch=len(position), **shape, **more)
    return {**inputs, "position": np.array(position)}


def unmarked(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return a call in which nothing begins."""
    return {**inputs, "reset": 0 * inputs["reset"]}

"""Inputs of a block with two marks: rows whose contexts and memories are of other ages, and begin at other tokens."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.blocks.calls import block_config
from spec_tests.chapters.blocks.covering import call, lengths
from spec_tests.port import Array, Op, Scalar

CONTEXT: Final = (2, 11, 5)
POSITION: Final = (7, 3, 9)
"""Tokens that contexts and memories have had: memories handed on to new contexts, and the other way round."""


def config(chunk: int = 4, projection: str = "tnt") -> dict[str, Scalar]:
    """Return a configuration of the operation."""
    return {"chunk": chunk, "projection": projection}


def marked(
    seed: int, *, span: int = 4, heads: int = 2, kernel: int = 3, batch: int = 2, time: int = 9, tokens: int = 2
) -> dict[str, Array]:
    """Return a call: row 0 begins a context at token 4 and a memory at token 6, row 1 the other way round."""
    block = block_config(span=span)
    shape = lengths(block, heads=heads, key=3, values=2, degree=1, window=3, kernel=kernel)
    inputs = call(Op.MAG_BLOCK, block, seed, POSITION[:batch], time=time, tokens=tokens, **shape)
    return {**without(inputs, "reset"), "context": np.array(CONTEXT[:batch]), **marks(batch, time)}


def marks(batch: int, time: int) -> dict[str, Array]:
    """Return the two marks of `marked`."""
    context, memory = np.zeros((2, batch, time), dtype=np.int64)
    context[0, 4:5] = memory[0, 6:7] = 1
    context[1:2, 5:6] = memory[1:2, 2:3] = 1
    return {"reset_context": context, "reset_memory": memory}


def unmarked(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return a call in which nothing begins."""
    return {**inputs, **{name: 0 * inputs[name] for name in ("reset_context", "reset_memory")}}


def without(inputs: Mapping[str, Array], name: str) -> dict[str, Array]:
    """Return a call without one of its inputs."""
    return {other: value for other, value in inputs.items() if other != name}

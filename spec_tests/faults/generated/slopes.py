"""Gradients that are missing, whole or in part."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from spec_tests.contract.schema import Operation
from spec_tests.faults.fault import Arrays, Config, gradients_lost, with_outputs
from spec_tests.faults.generated.kind import Kind, Place, is_float

PARTS: Final = ("batch", "time", "heads", "window", "steps")
"""Axes along which a gradient may reach the first or the last entry alone."""


def _zero(row: Operation) -> Iterator[Place]:
    for tensor in row.inputs:
        if is_float(tensor):
            yield Place(tensor.name, gradients_lost(tensor.name))


def _of_one(row: Operation) -> Iterator[Place]:
    for tensor in row.inputs:
        for place, axis in enumerate(tensor.axes):
            if is_float(tensor) and axis.partition("-")[0] in PARTS:
                kept = -1 if axis.startswith("time") else 0
                yield Place(f"{tensor.name} {axis}", with_outputs(partial(_only, tensor.name, place, kept)))


def _only(name: str, axis: int, kept: int, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    gradient = outputs.get(f"grad.{name}")
    if gradient is None or gradient.shape[axis] == 0:
        return {}
    reached = np.zeros_like(gradient)
    place = tuple(kept if i == axis else slice(None) for i in range(gradient.ndim))
    reached[place] = gradient[place]
    return {f"grad.{name}": reached}


KINDS: Final = (
    Kind("gradient-zero", "an input gets no gradient", "gradient", _zero),
    Kind("gradient-of-one", "one row, head or age, or the last token alone gets its gradient", "gradient", _of_one),
)

"""What an operation keeps of all parameters in one row of numbers, and how it is taken apart (`step.operation`)."""

from collections.abc import Mapping

import numpy as np

from spec_tests.chapters.step.operation import PARAMETERS
from spec_tests.port import Array

NAMES = tuple(tensor.name for tensor in PARAMETERS)


def split(numbers: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    """Return a row of numbers as one array a parameter, shaped as those of `like`."""
    edges = np.cumsum([like[name].size for name in NAMES])[:-1]
    parts = zip(NAMES, np.split(numbers, edges), strict=True)
    return {name: part.reshape(like[name].shape) for name, part in parts}


def join(arrays: Mapping[str, Array]) -> Array:
    """Return the entries of all parameters one after another: the inverse of `split`."""
    return np.concatenate([arrays[name].ravel() for name in NAMES])

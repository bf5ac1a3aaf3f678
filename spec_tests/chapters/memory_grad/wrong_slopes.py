"""Derivatives of the memory with one of the maps inside a turn taken back wrongly."""

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import numpy as np

from spec_tests.chapters.memory_grad import adjoint
from spec_tests.chapters.memory_grad.products import Back
from spec_tests.chapters.memory_step.loop import Matrices
from spec_tests.faults.fault import Arrays, Config, Wrap, with_outputs
from spec_tests.port import Array


def slopes_with(part: str, wrong: Callable[..., Back]) -> Wrap:
    """Build a fault whose derivatives are the loop's but for one map; `wrong` gets the right one first."""

    def change(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in inputs.items()}
        asked = {name.removeprefix("cotangent."): value for name, value in wide.items() if name[:10] == "cotangent."}
        given = {name: value for name, value in wide.items() if name[:10] != "cotangent."}
        with patch.object(adjoint, part, partial(wrong, getattr(adjoint, part))):
            slopes = adjoint.Adjoint(config).gradients(given, asked)
        return {f"grad.{name}": value for name, value in slopes.items() if f"grad.{name}" in outputs}

    return with_outputs(change)


def nothing_to_the_anchor(
    right: Callable[..., Back], anchor: Matrices, key: Array, value: Array, vectors: Matrices
) -> Back:
    """Take the gradient of a pair for one of the pair alone: the anchor that it was taken at learns nothing."""
    back = right(anchor, key, value, vectors)
    return Back([0.0 * matrix for matrix in back.weights], back.key, back.value)


def constant_curvature(_: Callable[..., Back], weights: Matrices, key: Array, value: Array) -> Back:
    """Take kappa for a number."""
    return Back([0.0 * matrix for matrix in weights], 0.0 * key, 0.0 * value)

"""Faults of normalisation."""

from math import sqrt
from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_outputs
from spec_tests.port import Op


def _overflowing(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"y": np.where(np.abs(inputs["x"]).max(-1, keepdims=True) > 1e19, 0.0, outputs["y"])}


def _nan_gradient_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.x" not in outputs:
        return {}
    return {"grad.x": np.where(inputs["x"].any(-1, keepdims=True), outputs["grad.x"], np.nan)}


NORM: Final = Op.L2_NORMALIZE
NORM_LITERAL = "test_normalize:test_vectors_are_divided_by_their_regularised_length"
NORM_SCALE = "test_normalize:test_huge_and_tiny_vectors_keep_their_direction"
NORM_ROWS = "test_normalize:test_each_vector_of_a_batch_stands_alone"


def normalised(kind: str) -> Wrap:
    """Build a fault of normalisation: another length, or another place of eps."""

    def change(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        x, eps = inputs["x"].astype(np.float64), float(config["eps"])
        square = (x**2).sum(-1, keepdims=True)
        length = {
            "rms": np.sqrt(square / x.shape[-1] + eps**2),
            "added": np.sqrt(square) + eps,
            "largest": np.maximum(np.sqrt(square), eps),
            "together": np.sqrt(square.sum() / max(1, len(x)) + eps**2) + 0.0 * square,
        }[kind]
        return {"y": x / length}

    return with_outputs(change)


def _tiny_vanishes(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"y": np.where(np.abs(inputs["x"]).max(-1, keepdims=True) < 1e-15, 0.0, outputs["y"])}


NORM_OF_KEYS = "misreading: the norm of queries and keys: l2 or root mean square, eps or its root"
SQUARES = "porting: squares overflow or underflow"
LENGTH_UNSQUARED = "source: x / max(||x||, eps) and its like: a length without its square"


def _nan_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"y": np.where(inputs["x"].any(-1, keepdims=True), outputs["y"], np.nan)}


NORM_ZERO = "test_normalize:test_zero_gives_zero_and_the_gradient_is_the_closed_form_with_bound_one_over_eps"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "norm-eps-as-square",
        "NORM-1b",
        Op.L2_NORMALIZE,
        "test_normalize:test_vectors_are_divided_by_their_regularised_length",
        with_config(lambda config: {"eps": sqrt(float(config["eps"]))}),
        NORM_OF_KEYS,
    ),
    Fault(
        "norm-gradient-nan-at-zero",
        "NORM-2b",
        Op.L2_NORMALIZE,
        "test_normalize:test_zero_gives_zero_and_the_gradient_is_the_closed_form_with_bound_one_over_eps",
        with_outputs(_nan_gradient_at_zero),
        "porting: a division by zero, or its derivative",
    ),
    Fault(
        "norm-square-overflows",
        "NORM-3a",
        Op.L2_NORMALIZE,
        "test_normalize:test_huge_and_tiny_vectors_keep_their_direction",
        with_outputs(_overflowing),
        SQUARES,
    ),
    Fault("norm-root-mean-square", "NORM-1a", NORM, NORM_LITERAL, normalised("rms"), NORM_OF_KEYS),
    Fault("norm-eps-added-to-the-length", "NORM-1b", NORM, NORM_LITERAL, normalised("added"), LENGTH_UNSQUARED),
    Fault("norm-eps-as-a-bound", "NORM-1b", NORM, NORM_LITERAL, normalised("largest"), LENGTH_UNSQUARED),
    Fault("norm-tiny-vectors-vanish", "NORM-3b", NORM, NORM_SCALE, with_outputs(_tiny_vanishes), SQUARES),
    Fault(
        "norm-over-all-vectors",
        "NORM-4",
        NORM,
        NORM_ROWS,
        normalised("together"),
        "source: queries and keys normalised over all heads at once: attention becomes uniform",
    ),
    Fault(
        "norm-nan-at-zero",
        "NORM-2a",
        NORM,
        NORM_ZERO,
        with_outputs(_nan_at_zero),
        "porting: a division by zero, or its derivative",
    ),
)

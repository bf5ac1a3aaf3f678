"""Faults of normalisation and of Newton-Schulz."""

from collections.abc import Callable
from math import sqrt

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_outputs
from spec_tests.port import Array, Op

Step = Callable[[Array, float, float, float], Array]

QUINTIC = (3.4445, -4.7750, 2.0315)


def _left(x: Array, a: float, b: float, c: float) -> Array:
    gram = x @ np.swapaxes(x, -1, -2)
    return np.asarray(a * x + (b * gram + c * gram @ gram) @ x)


def _right(x: Array, a: float, b: float, c: float) -> Array:
    """Multiply from the wrong side, which only a square matrix survives."""
    if x.shape[-2] != x.shape[-1]:
        return _left(x, a, b, c)
    gram = x @ np.swapaxes(x, -1, -2)
    return np.asarray(a * x + x @ (b * gram + c * gram @ gram))


def _without_transpose(x: Array, a: float, b: float, c: float) -> Array:
    """Use X X where X X^T is meant."""
    if x.shape[-2] != x.shape[-1]:
        return _left(x, a, b, c)
    gram = x @ x
    return np.asarray(a * x + (b * gram + c * gram @ gram) @ x)


def _iterated(step: Step, norm: Callable[[Array], Array]) -> Wrap:
    """Replace the quintic iteration by one with another step or another norm."""

    def change(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
        if config["coefficients"] != "quintic":
            return {}
        x = inputs["matrix"].astype(np.float64)
        tall = x.shape[-2] > x.shape[-1]
        x = np.swapaxes(x, -1, -2) if tall else x
        x = x / (norm(x) + 1e-7)
        for _step in range(int(config["steps"])):
            x = np.clip(step(x, *QUINTIC), -1e30, 1e30)
        return {"orthogonal": np.swapaxes(x, -1, -2) if tall else x}

    return with_outputs(change)


def _each(x: Array) -> Array:
    return np.asarray(np.sqrt((x**2).sum((-2, -1), keepdims=True)))


def _whole_batch(x: Array) -> Array:
    return np.asarray(np.sqrt((x**2).mean(0, keepdims=True).sum((-2, -1), keepdims=True)))


def _columns_normalised(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    matrix = inputs["matrix"].astype(np.float64)
    if matrix.shape[-2] <= matrix.shape[-1]:
        return {}
    return {"orthogonal": matrix / (np.sqrt((matrix**2).sum(-2, keepdims=True)) + 1e-7)}


def _tiny_unchanged(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    matrix = inputs["matrix"].astype(np.float64)
    return {"orthogonal": np.where(_each(matrix) < 1e-7, matrix, outputs["orthogonal"])}


def _scaled_back(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"orthogonal": outputs["orthogonal"] * np.minimum(_each(inputs["matrix"].astype(np.float64)), 1e18)}


def _nan_at_zero(name: str, output: str) -> Wrap:
    def change(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        return {output: outputs[output] if inputs[name].any() else np.full_like(outputs[output], np.nan)}

    return with_outputs(change)


def _straight_through(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"grad.matrix": inputs["cotangent.orthogonal"]} if "grad.matrix" in outputs else {}


def _overflowing(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"y": np.where(np.abs(inputs["x"]).max(-1, keepdims=True) > 1e19, 0.0, outputs["y"])}


def _nan_gradient_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.x" not in outputs:
        return {}
    return {"grad.x": np.where(inputs["x"].any(-1, keepdims=True), outputs["grad.x"], np.nan)}


def _ns(name: str) -> str:
    return f"test_newton_schulz:test_{name}"


NS_LITERAL = _ns("the_result_is_the_literal_iteration")
NS_VECTORS = _ns("singular_vectors_are_kept_and_singular_values_follow_the_scalar_iteration")
NS_SCALE = _ns("the_scale_of_the_input_does_not_matter")

NORMALISATION = (
    Fault(
        "norm-eps-as-square",
        "NORM-1",
        Op.L2_NORMALIZE,
        "test_normalize:test_vectors_are_divided_by_their_regularised_length",
        with_config(lambda config: {"eps": sqrt(float(config["eps"]))}),
    ),
    Fault(
        "norm-gradient-nan-at-zero",
        "NORM-2",
        Op.L2_NORMALIZE,
        "test_normalize:test_zero_gives_zero_and_the_gradient_is_the_closed_form_with_bound_one_over_eps",
        with_outputs(_nan_gradient_at_zero),
    ),
    Fault(
        "norm-square-overflows",
        "NORM-3",
        Op.L2_NORMALIZE,
        "test_normalize:test_huge_and_tiny_vectors_keep_their_direction",
        with_outputs(_overflowing),
    ),
)

NEWTON_SCHULZ = (
    Fault("ns-wrong-side", "NS-1", Op.NEWTON_SCHULZ, NS_LITERAL, _iterated(_right, _each)),
    Fault("ns-without-transpose", "NS-1", Op.NEWTON_SCHULZ, NS_LITERAL, _iterated(_without_transpose, _each)),
    Fault(
        "ns-one-step-less",
        "NS-1",
        Op.NEWTON_SCHULZ,
        NS_LITERAL,
        with_config(lambda config: {"steps": max(int(config["steps"]) - 1, 0)}),
    ),
    Fault(
        "ns-columns-normalised-when-tall",
        "NS-2",
        Op.NEWTON_SCHULZ,
        _ns("a_tall_matrix_gives_the_transpose_of_the_wide_result"),
        with_outputs(_columns_normalised),
    ),
    Fault("ns-wrong-side-turns-vectors", "NS-3", Op.NEWTON_SCHULZ, NS_VECTORS, _iterated(_right, _each)),
    Fault(
        "ns-cubic-for-quintic",
        "NS-4",
        Op.NEWTON_SCHULZ,
        _ns("the_quintic_set_ends_in_its_band_and_not_at_one"),
        with_config(lambda _: {"coefficients": "cubic"}),
    ),
    Fault(
        "ns-quintic-for-every-set",
        "NS-5",
        Op.NEWTON_SCHULZ,
        _ns("the_cubic_and_polar_express_sets_converge_to_the_polar_factor"),
        with_config(lambda _: {"coefficients": "quintic"}),
    ),
    Fault(
        "ns-nan-at-zero",
        "NS-6",
        Op.NEWTON_SCHULZ,
        _ns("zero_gives_zero_and_a_finite_gradient"),
        _nan_at_zero("matrix", "orthogonal"),
    ),
    Fault("ns-tiny-input-unchanged", "NS-7", Op.NEWTON_SCHULZ, NS_SCALE, with_outputs(_tiny_unchanged)),
    Fault("ns-norm-multiplied-back", "NS-7", Op.NEWTON_SCHULZ, NS_SCALE, with_outputs(_scaled_back)),
    Fault("ns-not-normalised", "NS-7", Op.NEWTON_SCHULZ, NS_SCALE, _iterated(_left, np.ones_like)),
    Fault(
        "ns-straight-through-gradient",
        "NS-8",
        Op.NEWTON_SCHULZ,
        _ns("the_gradient_runs_through_every_step_and_the_norm"),
        with_outputs(_straight_through),
    ),
    Fault(
        "ns-norm-over-the-batch",
        "NS-9",
        Op.NEWTON_SCHULZ,
        _ns("each_matrix_of_a_batch_stands_alone"),
        _iterated(_left, _whole_batch),
    ),
)

MATRICES = (*NORMALISATION, *NEWTON_SCHULZ)

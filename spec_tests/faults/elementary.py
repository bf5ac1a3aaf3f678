"""Faults of the operations without a time axis: normalisation, Newton-Schulz, features, gain, M3 mixing."""

from collections.abc import Callable
from math import sqrt

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_inputs, with_outputs
from spec_tests.port import Array, Numerics, Op

F64_ONLY = (Numerics.F64,)
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


def gradients_lost(*names: str) -> Wrap:
    """Build a fault in which the gradients of these inputs are zero."""

    def change(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
        return {f"grad.{name}": 0.0 * outputs[f"grad.{name}"] for name in names if f"grad.{name}" in outputs}

    return with_outputs(change)


def _straight_through(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"grad.matrix": inputs["cotangent.orthogonal"]} if "grad.matrix" in outputs else {}


def basis_instead(of: str, basis: str) -> Wrap:
    """Build a fault that computes one basis where another is asked for."""
    return with_config(lambda config: {"basis": basis} if config["basis"] == of else {})


def _constant_feature(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    return {"features": outputs["features"] + (config["basis"] != "elementwise")}


def _overflowing(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"y": np.where(np.abs(inputs["x"]).max(-1, keepdims=True) > 1e19, 0.0, outputs["y"])}


def _nan_gradient_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.x" not in outputs:
        return {}
    return {"grad.x": np.where(inputs["x"].any(-1, keepdims=True), outputs["grad.x"], np.nan)}


def _adamw_in_bf16(raw: bool) -> Wrap:
    """Store the gain, or its logarithm, in bfloat16 between steps."""

    def change(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
        rate, beta1, beta2 = (float(config[key]) for key in ("learning_rate", "beta1", "beta2"))
        log_gain = inputs["log_gain"].astype(np.float64)
        value = round_to_bf16(np.exp(log_gain) if raw else log_gain).astype(np.float64)
        mean, square, gains = 0.0 * value, 0.0 * value, []
        for n, by_log in enumerate(inputs["gradient"].astype(np.float64), start=1):
            gradient = by_log / value if raw else by_log
            mean = beta1 * mean + (1 - beta1) * gradient
            square = beta2 * square + (1 - beta2) * gradient**2
            step = (mean / (1 - beta1**n)) / (np.sqrt(square / (1 - beta2**n)) + float(config["eps"]))
            value = value * (1 - rate * float(config["weight_decay"])) - rate * step
            value = round_to_bf16(value).astype(np.float64)
            gains.append(value if raw else np.exp(value))
        return {"gain": np.stack(gains)}

    return with_outputs(change)


def _swapped(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"mixed": inputs["previous"] + inputs["initial"] - outputs["mixed"]}


def _previous_keeps_gradient(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.previous" not in outputs:
        return {}
    return {"grad.previous": outputs["mixing"][:, None, None] * inputs["cotangent.mixed"]}


def _always_learned(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.alpha_logit" not in outputs:
        return {}
    a = 1 / (1 + np.exp(-inputs["alpha_logit"]))
    difference = (inputs["previous"] - inputs["initial"]) * inputs["cotangent.mixed"]
    return {"grad.alpha_logit": difference.sum() * a * (1 - a)}


def _ns(name: str) -> str:
    return f"test_newton_schulz:test_{name}"


NS_LITERAL = _ns("the_result_is_the_literal_iteration")
NS_VECTORS = _ns("singular_vectors_are_kept_and_singular_values_follow_the_scalar_iteration")
NS_SCALE = _ns("the_scale_of_the_input_does_not_matter")
FEATURES = Op.POLYNOMIAL_FEATURES
KERNEL = "test_polynomial:test_weighted_monomials_give_the_dot_product_kernel_with_its_coefficients"
TENSOR_KERNEL = "test_polynomial:test_tensor_powers_give_the_dot_product_kernel_with_its_coefficients"
FEATURE_GRADIENT = "test_polynomial:test_the_gradients_with_respect_to_vectors_and_coefficients_are_those_of_the_kernel"
GAIN = "test_gain:test_the_effective_gain_follows_the_float64_trajectory_within_one_percent"

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
        F64_ONLY,
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
        F64_ONLY,
    ),
    Fault("ns-wrong-side-turns-vectors", "NS-3", Op.NEWTON_SCHULZ, NS_VECTORS, _iterated(_right, _each), F64_ONLY),
    Fault(
        "ns-cubic-for-quintic",
        "NS-4",
        Op.NEWTON_SCHULZ,
        _ns("the_quintic_set_ends_in_its_band_and_not_at_one"),
        with_config(lambda _: {"coefficients": "cubic"}),
        F64_ONLY,
    ),
    Fault(
        "ns-quintic-for-every-set",
        "NS-5",
        Op.NEWTON_SCHULZ,
        _ns("the_cubic_and_polar_express_sets_converge_to_the_polar_factor"),
        with_config(lambda _: {"coefficients": "quintic"}),
        F64_ONLY,
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
        F64_ONLY,
    ),
    Fault(
        "ns-norm-over-the-batch",
        "NS-9",
        Op.NEWTON_SCHULZ,
        _ns("each_matrix_of_a_batch_stands_alone"),
        _iterated(_left, _whole_batch),
    ),
)

POLYNOMIAL = (
    Fault(
        "feat-kronecker-without-repeats",
        "FEAT-1",
        FEATURES,
        "test_polynomial:test_the_number_of_features_is_that_of_the_basis",
        basis_instead("kronecker", "monomial_weighted"),
        F64_ONLY,
    ),
    Fault("feat-unweighted-monomials", "FEAT-2", FEATURES, KERNEL, basis_instead("monomial_weighted", "monomial")),
    Fault(
        "feat-coefficient-on-feature",
        "FEAT-2",
        FEATURES,
        KERNEL,
        with_inputs(lambda _, inputs: {"coefficients": inputs["coefficients"] ** 2}),
    ),
    Fault(
        "feat-factorial-fixed",
        "FEAT-3",
        FEATURES,
        TENSOR_KERNEL,
        with_inputs(lambda _, x: {"coefficients": 1.0 / np.cumprod(np.arange(1.0, len(x["coefficients"]) + 1))}),
    ),
    Fault(
        "feat-monomials-weighted",
        "FEAT-4",
        FEATURES,
        "test_polynomial:test_plain_monomials_give_the_sum_over_monomials",
        basis_instead("monomial", "monomial_weighted"),
    ),
    Fault(
        "feat-elementwise-without-constant",
        "FEAT-5",
        FEATURES,
        "test_polynomial:test_elementwise_features_are_the_polynomial_of_each_entry",
        with_outputs(lambda _, __, outputs: {"features": outputs["features"] - 1.0}),
    ),
    Fault(
        "feat-constant",
        "FEAT-6",
        FEATURES,
        "test_polynomial:test_there_is_no_constant_feature",
        with_outputs(_constant_feature),
    ),
    Fault(
        "feat-elementwise-collapse",
        "FEAT-7",
        FEATURES,
        "test_polynomial:test_features_of_unit_vectors_have_the_rank_of_polynomials_on_the_sphere",
        with_config(lambda _: {"basis": "elementwise"}),
        F64_ONLY,
    ),
    Fault("feat-coefficients-frozen", "FEAT-8", FEATURES, FEATURE_GRADIENT, gradients_lost("coefficients"), F64_ONLY),
    Fault(
        "feat-centred-over-the-batch",
        "FEAT-9",
        FEATURES,
        "test_polynomial:test_each_vector_of_a_batch_stands_alone",
        with_outputs(lambda _, __, outputs: {"features": outputs["features"] - outputs["features"].mean(0)}),
    ),
)

GAINS = (
    Fault("gain-logarithm-in-bf16", "GAIN-1", Op.OPTIMIZER_STEP, GAIN, _adamw_in_bf16(raw=False)),
    Fault("gain-raw-in-bf16", "GAIN-1", Op.OPTIMIZER_STEP, GAIN, _adamw_in_bf16(raw=True)),
    Fault(
        "gain-step-rounded-away",
        "GAIN-2",
        Op.OPTIMIZER_STEP,
        "test_gain:test_a_small_step_moves_the_gain",
        _adamw_in_bf16(raw=False),
    ),
)

M3 = (
    Fault(
        "m3-no-warmup",
        "M3-1",
        Op.M3_MIX,
        "test_m3:test_the_mixing_ramps_by_crossings_and_then_follows_the_logit",
        with_config(lambda _: {"warmup_crossings": 0}),
    ),
    Fault("m3-swapped", "M3-2", Op.M3_MIX, "test_m3:test_the_new_state_is_the_convex_mixture", with_outputs(_swapped)),
    Fault(
        "m3-previous-not-stopped",
        "M3-3",
        Op.M3_MIX,
        "test_m3:test_no_gradient_reaches_the_previous_state",
        with_outputs(_previous_keeps_gradient),
        F64_ONLY,
    ),
    Fault(
        "m3-logit-learns-in-warmup",
        "M3-4",
        Op.M3_MIX,
        "test_m3:test_the_logit_learns_from_rows_past_the_warmup_only",
        with_outputs(_always_learned),
        F64_ONLY,
    ),
    Fault(
        "m3-state-averaged-over-the-batch",
        "M3-5",
        Op.M3_MIX,
        "test_m3:test_rows_are_independent",
        with_inputs(lambda _, inputs: {"previous": 0.0 * inputs["previous"] + inputs["previous"].mean(0)}),
    ),
)

ELEMENTARY = (*NORMALISATION, *NEWTON_SCHULZ, *POLYNOMIAL, *GAINS, *M3)

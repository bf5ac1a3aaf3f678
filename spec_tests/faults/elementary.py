"""Faults of polynomial features, of the learned gain and of M3 mixing."""

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    gradients_lost,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Op


def basis_instead(of: str, basis: str) -> Wrap:
    """Build a fault that computes one basis where another is asked for."""
    return with_config(lambda config: {"basis": basis} if config["basis"] == of else {})


def _constant_feature(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    return {"features": outputs["features"] + (config["basis"] != "elementwise")}


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


FEATURES = Op.POLYNOMIAL_FEATURES
KERNEL = "test_polynomial:test_weighted_monomials_give_the_dot_product_kernel_with_its_coefficients"
TENSOR_KERNEL = "test_polynomial:test_tensor_powers_give_the_dot_product_kernel_with_its_coefficients"
FEATURE_GRADIENT = "test_polynomial:test_the_gradients_with_respect_to_vectors_and_coefficients_are_those_of_the_kernel"
GAIN = "test_gain:test_the_effective_gain_follows_the_float64_trajectory_within_one_percent"

POLYNOMIAL = (
    Fault(
        "feat-kronecker-without-repeats",
        "FEAT-1",
        FEATURES,
        "test_polynomial:test_the_number_of_features_is_that_of_the_basis",
        basis_instead("kronecker", "monomial_weighted"),
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
    ),
    Fault("feat-coefficients-frozen", "FEAT-8", FEATURES, FEATURE_GRADIENT, gradients_lost("coefficients")),
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
    ),
    Fault(
        "m3-logit-learns-in-warmup",
        "M3-4",
        Op.M3_MIX,
        "test_m3:test_the_logit_learns_from_rows_past_the_warmup_only",
        with_outputs(_always_learned),
    ),
    Fault(
        "m3-state-averaged-over-the-batch",
        "M3-5",
        Op.M3_MIX,
        "test_m3:test_rows_are_independent",
        with_inputs(lambda _, inputs: {"previous": 0.0 * inputs["previous"] + inputs["previous"].mean(0)}),
    ),
)

ELEMENTARY = (*POLYNOMIAL, *GAINS, *M3)

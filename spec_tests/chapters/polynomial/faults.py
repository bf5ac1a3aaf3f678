"""Faults of polynomial features."""

from functools import partial
from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, gradients_lost, with_config, with_inputs, with_outputs
from spec_tests.port import Op


def basis_instead(of: str, basis: str) -> Wrap:
    """Build a fault that computes one basis where another is asked for."""
    return with_config(lambda config: {"basis": basis} if config["basis"] == of else {})


def _constant_feature(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    return {"features": outputs["features"] + (config["basis"] != "elementwise")}


FEATURES = Op.POLYNOMIAL_FEATURES
KERNEL = "test_polynomial:test_weighted_monomials_give_the_dot_product_kernel_with_its_coefficients"
TENSOR_KERNEL = "test_polynomial:test_tensor_powers_give_the_dot_product_kernel_with_its_coefficients"
FEATURE_GRADIENT = "test_polynomial:test_the_gradients_with_respect_to_vectors_and_coefficients_are_those_of_the_kernel"
MONOMIALS = "test_polynomial:test_plain_monomials_give_the_sum_over_monomials"


def _standardised(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    features = outputs["features"].astype(np.float64)
    centred = features - features.mean(-1, keepdims=True)
    return {"features": centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)}


WHICH_BASIS = "misreading: the weights of monomials, and which basis"
FACTORIAL = "misreading: 1/i! on the features or on the kernel"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"


def _one_more(config: Config, _: Arrays, outputs: Arrays, *, of: str) -> Arrays:
    """Keep the constant as a feature that is always zero."""
    if config["basis"] not in of.split():
        return {}
    return {"features": np.concatenate([0.0 * outputs["features"][:, :1], outputs["features"]], axis=1)}


def _affine(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Add a bias where there is one degree only."""
    if len(inputs["coefficients"]) > 1:
        return {}
    return {"features": np.concatenate([1.0 + 0.0 * outputs["features"][:, :1], outputs["features"]], axis=1)}


FEATURE_COUNT = "test_polynomial:test_the_number_of_features_is_that_of_the_basis"
FEATURE_RANK = "test_polynomial:test_features_of_unit_vectors_have_the_rank_of_polynomials_on_the_sphere"


def _one_degree_late(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Count degrees from zero, beside a constant that is there already."""
    if config["basis"] != "elementwise":
        return {}
    x = inputs["x"].astype(np.float64)
    return {"features": 1.0 + sum(a * x**i for i, a in enumerate(inputs["coefficients"].astype(np.float64)))}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "feat-kronecker-without-repeats",
        "FEAT-1b",
        FEATURES,
        "test_polynomial:test_the_number_of_features_is_that_of_the_basis",
        basis_instead("kronecker", "monomial_weighted"),
        WHICH_BASIS,
    ),
    Fault(
        "feat-unweighted-monomials",
        "FEAT-2c",
        FEATURES,
        KERNEL,
        basis_instead("monomial_weighted", "monomial"),
        WHICH_BASIS,
    ),
    Fault(
        "feat-coefficient-on-feature",
        "FEAT-2b",
        FEATURES,
        KERNEL,
        with_inputs(lambda _, inputs: {"coefficients": inputs["coefficients"] ** 2}),
        FACTORIAL,
    ),
    Fault(
        "feat-factorial-fixed",
        "FEAT-3",
        FEATURES,
        TENSOR_KERNEL,
        with_inputs(lambda _, x: {"coefficients": 1.0 / np.cumprod(np.arange(1.0, len(x["coefficients"]) + 1))}),
        FACTORIAL,
    ),
    Fault(
        "feat-monomials-weighted",
        "FEAT-4b",
        FEATURES,
        "test_polynomial:test_plain_monomials_give_the_sum_over_monomials",
        basis_instead("monomial", "monomial_weighted"),
        WHICH_BASIS,
    ),
    Fault(
        "feat-elementwise-without-constant",
        "FEAT-5a",
        FEATURES,
        "test_polynomial:test_elementwise_features_are_the_polynomial_of_each_entry",
        with_outputs(lambda _, __, outputs: {"features": outputs["features"] - 1.0}),
        WHICH_BASIS,
    ),
    Fault(
        "feat-constant",
        "FEAT-6",
        FEATURES,
        "test_polynomial:test_there_is_no_constant_feature",
        with_outputs(_constant_feature),
        "source: a constant among the features",
    ),
    Fault(
        "feat-elementwise-collapse",
        "FEAT-7a",
        FEATURES,
        "test_polynomial:test_features_of_unit_vectors_have_the_rank_of_polynomials_on_the_sphere",
        with_config(lambda _: {"basis": "elementwise"}),
        "source: element-wise features: random keys collapse to a cosine of 0.998",
    ),
    Fault(
        "feat-coefficients-frozen", "FEAT-8b", FEATURES, FEATURE_GRADIENT, gradients_lost("coefficients"), DERIVATIVE
    ),
    Fault(
        "feat-centred-over-the-batch",
        "FEAT-9",
        FEATURES,
        "test_polynomial:test_each_vector_of_a_batch_stands_alone",
        with_outputs(lambda _, __, outputs: {"features": outputs["features"] - outputs["features"].mean(0)}),
        "porting: one row or head for all",
    ),
    Fault(
        "feat-standardised",
        "FEAT-2a",
        FEATURES,
        KERNEL,
        with_outputs(_standardised),
        "source: features pass through a layer normalisation",
    ),
    Fault(
        "feat-coefficient-of-the-next-degree",
        "FEAT-2b",
        FEATURES,
        KERNEL,
        with_inputs(lambda _, inputs: {"coefficients": np.roll(inputs["coefficients"], 1)}),
        WHICH_BASIS,
    ),
    Fault(
        "feat-monomial-coefficient-not-rooted",
        "FEAT-4a",
        FEATURES,
        MONOMIALS,
        with_inputs(lambda _, inputs: {"coefficients": inputs["coefficients"] ** 2}),
        FACTORIAL,
    ),
    Fault("feat-vectors-detached", "FEAT-8a", FEATURES, FEATURE_GRADIENT, gradients_lost("x"), DERIVATIVE),
    Fault(
        "feat-one-feature-more",
        "FEAT-1a",
        FEATURES,
        FEATURE_COUNT,
        with_outputs(partial(_one_more, of="monomial_weighted monomial")),
        WHICH_BASIS,
    ),
    Fault(
        "feat-elementwise-one-more",
        "FEAT-1c",
        FEATURES,
        FEATURE_COUNT,
        with_outputs(partial(_one_more, of="elementwise")),
        WHICH_BASIS,
    ),
    Fault("feat-constant-when-linear", "FEAT-7b", FEATURES, FEATURE_RANK, with_outputs(_affine), WHICH_BASIS),
    Fault(
        "feat-elementwise-degree-late",
        "FEAT-5b",
        FEATURES,
        "test_polynomial:test_elementwise_features_are_the_polynomial_of_each_entry",
        with_outputs(_one_degree_late),
        WHICH_BASIS,
    ),
)

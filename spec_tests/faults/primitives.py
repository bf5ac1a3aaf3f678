"""More faults of Newton-Schulz, normalisation, features, gain and M3: what source systems did, and readers misread."""

from functools import partial

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, gradients_lost, with_config, with_inputs, with_outputs
from spec_tests.inputs import central_difference
from spec_tests.oracle.newton_schulz import PUBLISHED, coefficients_of
from spec_tests.port import Array, Op

NS, NORM, FEATURES, M3 = Op.NEWTON_SCHULZ, Op.L2_NORMALIZE, Op.POLYNOMIAL_FEATURES, Op.M3_MIX
NS_LITERAL = "test_newton_schulz:test_the_result_is_the_literal_iteration"
NS_TALL = "test_newton_schulz:test_a_tall_matrix_gives_the_transpose_of_the_wide_result"
NS_POLAR = "test_newton_schulz:test_the_cubic_and_polar_express_sets_converge_to_the_polar_factor"
NS_ZERO = "test_newton_schulz:test_zero_gives_zero_and_a_finite_gradient"
NS_SCALE = "test_newton_schulz:test_the_scale_of_the_input_does_not_matter"
NS_GRADIENT = "test_newton_schulz:test_the_gradient_runs_through_every_step_and_the_norm"
NORM_LITERAL = "test_normalize:test_vectors_are_divided_by_their_regularised_length"
NORM_SCALE = "test_normalize:test_huge_and_tiny_vectors_keep_their_direction"
NORM_ROWS = "test_normalize:test_each_vector_of_a_batch_stands_alone"
KERNEL = "test_polynomial:test_weighted_monomials_give_the_dot_product_kernel_with_its_coefficients"
MONOMIALS = "test_polynomial:test_plain_monomials_give_the_sum_over_monomials"
FEATURE_GRADIENT = "test_polynomial:test_the_gradients_with_respect_to_vectors_and_coefficients_are_those_of_the_kernel"
GAIN = "test_gain:test_the_effective_gain_follows_the_float64_trajectory_within_one_percent"
M3_STOPPED = "test_m3:test_no_gradient_reaches_the_previous_state"
M3_RAMP = "test_m3:test_the_mixing_ramps_by_crossings_and_then_follows_the_logit"


def _iterate(x: Array, name: str, steps: int) -> Array:
    for step in range(steps):
        a, b, c = coefficients_of(name, step)
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _frobenius(x: Array) -> Array:
    return np.asarray(np.sqrt((x**2).sum((-2, -1), keepdims=True)))


def _spectral(x: Array) -> Array:
    return np.asarray(np.linalg.svd(x, compute_uv=False).max(-1)[..., None, None])


def _started(config: Config, inputs: Arrays, _: Arrays, *, spectral: bool = False, offset: float = 1e-7) -> Arrays:
    """Run the iteration from another start: divided by the spectral norm, or with another offset."""
    matrix = inputs["matrix"].astype(np.float64)
    length = _spectral(matrix) if spectral else _frobenius(matrix)
    return {"orthogonal": _iterate(matrix / (length + offset), str(config["coefficients"]), int(config["steps"]))}


def _cycling(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    """Begin the set of coefficients again where it ends."""
    if config["coefficients"] != "polar_express":
        return {}
    matrix = inputs["matrix"].astype(np.float64)
    x = matrix / (_frobenius(matrix) + 1e-7)
    for step in range(int(config["steps"])):
        a, b, c = coefficients_of("polar_express", step % len(PUBLISHED))
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return {"orthogonal": x}


def _uncushioned(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    """Use the published coefficients as they are printed, without the safety factor of 1.01."""
    if config["coefficients"] != "polar_express":
        return {}
    matrix = inputs["matrix"].astype(np.float64)
    x = matrix / (_frobenius(matrix) + 1e-7)
    for step in range(int(config["steps"])):
        a, b, c = PUBLISHED[min(step, len(PUBLISHED) - 1)]
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return {"orthogonal": x}


def _rows_normalised(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    matrix = inputs["matrix"].astype(np.float64)
    if matrix.shape[-2] >= matrix.shape[-1]:
        return {}
    return {"orthogonal": matrix / (np.sqrt((matrix**2).sum(-1, keepdims=True)) + 1e-7)}


def _polar(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Compute the exact polar factor, to which the quintic set never converges."""
    left, _sigma, right = np.linalg.svd(inputs["matrix"].astype(np.float64), full_matrices=False)
    return {"orthogonal": left @ right}


def _norm_detached(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Differentiate as if the norm were a constant."""
    if "grad.matrix" not in outputs or not inputs["matrix"].any():
        return {}
    matrix, cotangent = (inputs[name].astype(np.float64) for name in ("matrix", "cotangent.orthogonal"))
    length = _frobenius(matrix) + 1e-7

    def loss(value: Array) -> float:
        return float((_iterate(value / length, str(config["coefficients"]), int(config["steps"])) * cotangent).sum())

    return {"grad.matrix": central_difference(loss, matrix)}


def _nan_gradient_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.matrix" not in outputs:
        return {}
    return {"grad.matrix": np.where(_frobenius(inputs["matrix"]) > 0, outputs["grad.matrix"], np.nan)}


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


def _standardised(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    features = outputs["features"].astype(np.float64)
    centred = features - features.mean(-1, keepdims=True)
    return {"features": centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)}


def _gain_without_exponential(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"gain": np.log(outputs["gain"])}


def _plain_descent(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    """The fallback called AdamW that moves by learning rate times gradient."""
    value, gains = inputs["log_gain"].astype(np.float64), []
    for gradient in inputs["gradient"]:
        value = value - float(config["learning_rate"]) * gradient
        gains.append(np.exp(value))
    return {"gain": np.stack(gains)}


def _mixed_by(mixing: Array, inputs: Arrays) -> Arrays:
    a = mixing[:, None, None]
    return {"mixing": mixing, "mixed": a * inputs["previous"] + (1 - a) * inputs["initial"]}


def _logit_as_weight(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    past = inputs["crossings"] >= int(config["warmup_crossings"])
    return _mixed_by(np.where(past, inputs["alpha_logit"], outputs["mixing"]), inputs)


def _ramp_from_zero(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    warmup = int(config["warmup_crossings"])
    in_warmup = inputs["crossings"] < warmup
    return _mixed_by(np.where(in_warmup, 0.5 * inputs["crossings"] / max(1, warmup), outputs["mixing"]), inputs)


PRIMITIVES = (
    Fault("ns-at-most-three-steps", "NS-1", NS, NS_LITERAL, with_config(lambda c: {"steps": min(3, int(c["steps"]))})),
    Fault("ns-spectral-start", "NS-1", NS, NS_LITERAL, with_outputs(partial(_started, spectral=True))),
    Fault("ns-set-begins-again", "NS-1", NS, NS_LITERAL, with_outputs(_cycling)),
    Fault("ns-without-cushion", "NS-1", NS, NS_LITERAL, with_outputs(_uncushioned)),
    Fault("ns-exact-polar-factor", "NS-1", NS, NS_LITERAL, with_outputs(_polar)),
    Fault(
        "ns-result-in-bfloat16",
        "NS-1",
        NS,
        NS_LITERAL,
        with_outputs(lambda _, __, y: {"orthogonal": round_to_bf16(y["orthogonal"])}),
    ),
    Fault("ns-rows-normalised-when-wide", "NS-2", NS, NS_TALL, with_outputs(_rows_normalised)),
    Fault(
        "ns-cubic-for-polar-express",
        "NS-5",
        NS,
        NS_POLAR,
        with_config(lambda config: {"coefficients": "cubic"} if config["coefficients"] == "polar_express" else {}),
    ),
    Fault("ns-gradient-nan-at-zero", "NS-6", NS, NS_ZERO, with_outputs(_nan_gradient_at_zero)),
    Fault("ns-offset-of-1e-5", "NS-7", NS, NS_SCALE, with_outputs(partial(_started, offset=1e-5))),
    Fault("ns-norm-detached", "NS-8", NS, NS_GRADIENT, with_outputs(_norm_detached)),
    Fault("norm-root-mean-square", "NORM-1", NORM, NORM_LITERAL, normalised("rms")),
    Fault("norm-eps-added-to-the-length", "NORM-1", NORM, NORM_LITERAL, normalised("added")),
    Fault("norm-eps-as-a-bound", "NORM-1", NORM, NORM_LITERAL, normalised("largest")),
    Fault("norm-tiny-vectors-vanish", "NORM-3", NORM, NORM_SCALE, with_outputs(_tiny_vanishes)),
    Fault("norm-over-all-vectors", "NORM-4", NORM, NORM_ROWS, normalised("together")),
    Fault("feat-standardised", "FEAT-2", FEATURES, KERNEL, with_outputs(_standardised)),
    Fault(
        "feat-coefficient-of-the-next-degree",
        "FEAT-2",
        FEATURES,
        KERNEL,
        with_inputs(lambda _, inputs: {"coefficients": np.roll(inputs["coefficients"], 1)}),
    ),
    Fault(
        "feat-monomial-coefficient-not-rooted",
        "FEAT-4",
        FEATURES,
        MONOMIALS,
        with_inputs(lambda _, inputs: {"coefficients": inputs["coefficients"] ** 2}),
    ),
    Fault("feat-vectors-detached", "FEAT-8", FEATURES, FEATURE_GRADIENT, gradients_lost("x")),
    Fault("gain-without-exponential", "GAIN-1", Op.OPTIMIZER_STEP, GAIN, with_outputs(_gain_without_exponential)),
    Fault(
        "gain-held-by-a-circuit-breaker",
        "GAIN-1",
        Op.OPTIMIZER_STEP,
        GAIN,
        with_outputs(lambda _, __, outputs: {"gain": np.minimum(outputs["gain"], 6.0)}),
    ),
    Fault("gain-plain-descent", "GAIN-1", Op.OPTIMIZER_STEP, GAIN, with_outputs(_plain_descent)),
    Fault(
        "m3-crossing-too-many",
        "M3-1",
        M3,
        M3_RAMP,
        with_inputs(lambda _, inputs: {"crossings": inputs["crossings"] + 1}),
    ),
    Fault("m3-logit-without-sigmoid", "M3-1", M3, M3_RAMP, with_outputs(_logit_as_weight)),
    Fault("m3-ramp-from-zero", "M3-1", M3, M3_RAMP, with_outputs(_ramp_from_zero)),
    Fault(
        "m3-initial-detached",
        "M3-3",
        M3,
        "test_m3:test_no_gradient_reaches_the_previous_state",
        gradients_lost("initial"),
    ),
    Fault(
        "m3-logit-never-learns",
        "M3-4",
        M3,
        "test_m3:test_the_logit_learns_from_rows_past_the_warmup_only",
        gradients_lost("alpha_logit"),
    ),
    Fault(
        "m3-one-row-speaks-for-all",
        "M3-5",
        M3,
        "test_m3:test_rows_are_independent",
        with_inputs(lambda _, inputs: {"crossings": np.full_like(inputs["crossings"], inputs["crossings"].max())}),
    ),
)

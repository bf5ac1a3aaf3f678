"""Faults of the error maps."""

from typing import Final

import numpy as np

from spec_tests.chapters.bias.wrong_maps import (
    AbsoluteError,
    AlwaysCut,
    CoordinateForNorm,
    DotDescends,
    DotSeesTheMemory,
    FlatLp,
    Grows,
    HeadsTogether,
    Jumps,
    LossScaleIgnored,
    MeanOverValues,
    NormForCoordinate,
    NormForSign,
    OwnThreshold,
    PaperFactor,
    PowerTooHigh,
    RobustAlone,
    RobustShrinks,
    SignOfZero,
    SteepLp,
    TanhForSign,
    ThresholdByWidth,
    WindowTogether,
    factor_of,
)
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, with_config, with_outputs
from spec_tests.port import Op

SCAN: Final = Op.MIRAS_SCAN
STEP: Final = "test_bias:test_a_write_is_a_step_down_the_loss_of_its_bias"
EQUAL: Final = "test_bias:test_every_bias_equals_the_squared_error_where_it_should"
DOT: Final = "test_bias:test_what_dot_writes_does_not_depend_on_the_memory"
NORM: Final = "test_bias:test_the_norm_of_huber_is_bounded_and_does_not_jump_and_that_of_yaad_takes_signs"
RIGHT: Final = "test_bias:test_nothing_is_written_where_the_memory_is_right_and_derivatives_are_finite"
WRITER: Final = "test_bias:test_the_threshold_of_a_window_is_that_of_the_token_that_writes"
SLOPE: Final = "test_bias:test_the_derivative_by_the_threshold_is_that_of_the_error_map"
PAIR: Final = "test_bias:test_an_error_map_looks_at_one_pair_of_one_head"
MASS: Final = "test_bias:test_mass_multiplies_the_curvature_by_a_bound_on_the_slope_of_the_bias"

OTHER_LOSS: Final = "misreading: the dot product or the absolute error for the squared one"
POWER: Final = "source: p restricted, or |e|^p for the slope of |e|^p"
HUBER: Final = "misreading: Huber's threshold on the norm or on each coordinate"
DIVIDED: Final = "source: Huber's threshold divided by the number of values"
FACTOR: Final = "misreading: the factor p or 2 of the loss"
PRINTED: Final = "misreading: Yaad as printed and as meant"
NOT_A_NUMBER: Final = "porting: a division by zero, or its derivative"
THRESHOLDS: Final = "misreading: the threshold of the pair's own token"
BOUND: Final = "misreading: the curvature of another loss"


def _not_a_number(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Divide by a length of zero, in derivatives alone."""
    right = not inputs["values"].any() and not inputs["weights"].any()
    return {"grad.keys": np.full_like(outputs["grad.keys"], np.nan)} if right and "grad.keys" in outputs else {}


def _leaking_threshold(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    """Pass the threshold to a bias that has none."""
    leaks = config["bias"] == "l2" and "grad.threshold" in outputs
    return {"grad.threshold": outputs["grad.threshold"] + 1e-3} if leaks else {}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("bias-dot-with-the-wrong-sign", "BIAS-1a", SCAN, STEP, computed(DotDescends), OTHER_LOSS),
    Fault("bias-power-too-high", "BIAS-1b", SCAN, STEP, computed(PowerTooHigh), POWER),
    Fault("bias-tanh-for-sign", "BIAS-1b", SCAN, STEP, computed(TanhForSign), POWER),
    Fault("bias-norm-for-coordinate", "BIAS-1c", SCAN, STEP, computed(NormForCoordinate), HUBER),
    Fault("bias-coordinate-for-norm", "BIAS-1d", SCAN, STEP, computed(CoordinateForNorm), HUBER),
    Fault("bias-threshold-by-width", "BIAS-1d", SCAN, STEP, computed(ThresholdByWidth), DIVIDED),
    Fault("bias-robust-shrinks", "BIAS-1e", SCAN, STEP, computed(RobustShrinks), OTHER_LOSS),
    Fault("bias-absolute-error", "BIAS-1f", SCAN, STEP, computed(AbsoluteError), OTHER_LOSS),
    Fault("bias-mean-over-values", "BIAS-1g", SCAN, STEP, computed(MeanOverValues), FACTOR),
    Fault("bias-loss-scale-ignored", "BIAS-1g", SCAN, STEP, computed(LossScaleIgnored), FACTOR),
    Fault("bias-factor-of-the-paper", "BIAS-2a", SCAN, EQUAL, computed(PaperFactor), FACTOR),
    Fault("bias-huber-always-cut", "BIAS-2b", SCAN, EQUAL, computed(AlwaysCut), HUBER),
    Fault("bias-robust-alone", "BIAS-2c", SCAN, EQUAL, computed(RobustAlone), OTHER_LOSS),
    Fault("bias-dot-sees-the-memory", "BIAS-3", SCAN, DOT, computed(DotSeesTheMemory), OTHER_LOSS),
    Fault("bias-huber-grows", "BIAS-4a", SCAN, NORM, computed(Grows), HUBER),
    Fault("bias-huber-jumps", "BIAS-4b", SCAN, NORM, computed(Jumps), PRINTED),
    Fault("bias-yaad-by-the-norm", "BIAS-4c", SCAN, NORM, computed(NormForSign), PRINTED),
    Fault("bias-writes-what-is-right", "BIAS-5a", SCAN, RIGHT, computed(SignOfZero), NOT_A_NUMBER),
    Fault("bias-slope-not-a-number", "BIAS-5b", SCAN, RIGHT, with_outputs(_not_a_number), NOT_A_NUMBER),
    Fault("bias-own-threshold", "BIAS-6", SCAN, WRITER, computed(OwnThreshold), THRESHOLDS),
    Fault(
        "bias-threshold-not-learned",
        "BIAS-7a",
        SCAN,
        SLOPE,
        gradients_lost("threshold"),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault(
        "bias-threshold-leaks",
        "BIAS-7b",
        SCAN,
        SLOPE,
        with_outputs(_leaking_threshold),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault(
        "bias-threshold-of-head-0", "BIAS-8a", SCAN, PAIR, computed(HeadsTogether), "porting: one row or head for all"
    ),
    Fault("bias-window-together", "BIAS-8b", SCAN, PAIR, computed(WindowTogether), HUBER),
    Fault("bias-mass-of-dot", "BIAS-9a", SCAN, MASS, computed(factor_of("dot")), BOUND),
    Fault("bias-mass-of-steep-lp", "BIAS-9b", SCAN, MASS, computed(SteepLp), BOUND),
    Fault("bias-mass-of-flat-lp", "BIAS-9c", SCAN, MASS, computed(FlatLp), BOUND),
    Fault("bias-mass-of-robust", "BIAS-9d", SCAN, MASS, computed(factor_of("robust")), BOUND),
    Fault(
        "bias-mass-of-the-others",
        "BIAS-9e",
        SCAN,
        MASS,
        computed(factor_of("l2", "huber_norm", "huber_coordinate")),
        BOUND,
    ),
    Fault("bias-always-squared", "BIAS-1", SCAN, STEP, with_config(lambda _: {"bias": "l2"}), OTHER_LOSS),
)

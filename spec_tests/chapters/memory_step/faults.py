"""Faults of one turn of the memory: order, reads, writes."""

from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.wrong_places import (
    AnchoredAfterTheWrite,
    IdentityRepeats,
    OmegaStepInside,
    OmegaWithoutMomentum,
    TitansStepOutside,
    WideLeftAlone,
    ZeroDivides,
)
from spec_tests.chapters.memory_step.wrong_turns import (
    AnchorBeforeReset,
    AnchorEarly,
    AnchorLate,
    AnchorRead,
    ByColumns,
    InnerMatrixFirst,
    LogisticGelu,
    QueryNormalised,
    ReadStandardised,
    ResidualInMatrix,
    SiluForGelu,
    TanhGelu,
    WithoutResidual,
    computed,
)
from spec_tests.chapters.memory_step.wrong_writes import (
    AdaptiveStep,
    Ascent,
    DeltaWithMomentum,
    GradientAscends,
    GradientDoubled,
    GradientOrthogonalised,
    Hebbian,
    InnerSlopeMissing,
    LossScaleIgnored,
    MeanOverValues,
    MomentumAveraged,
    MomentumDecayLate,
    MomentumUndecayed,
    NormalisedOnly,
    NormClipped,
    NormMultipliedBack,
    OneNorm,
    OuterMatrixOnly,
    ResidualNotLearned,
    RetentionAfterWrite,
    SignGradient,
    StepInsideNewtonSchulz,
    StepTwice,
    TallLeftAlone,
    WrongPolynomial,
)
from spec_tests.faults.fault import Arrays, Config, Fault, multiplied, with_config, with_inputs, with_outputs
from spec_tests.port import Op

STEP: Final = Op.MEMORY_STEP
ORDER = "test_memory_step:test_a_token_is_reset_then_anchored_then_written_then_read"
VALUE = "test_memory_step:test_the_read_is_the_value_of_the_memory_that_is_returned"
GELU = "test_memory_step:test_gelu_is_not_an_approximation"
TABLE: Final = "test_memory_step:test_titans_omega_and_delta_write_as_the_table_says"
ATLAS: Final = "test_memory_step:test_atlas_orthogonalises_the_momentum_and_scales_it_by_the_step"
APPENDIX: Final = "test_memory_step:test_atlas_appendix_has_the_step_inside_where_a_common_factor_cancels"
DELTA: Final = "test_memory_step:test_delta_ignores_the_momentum_gate"
DESCENT: Final = "test_memory_step:test_the_first_write_descends"
LOSS: Final = "test_memory_step:test_the_gradient_is_that_of_the_loss_in_every_matrix"
RECALL: Final = "test_memory_step:test_orthonormal_keys_are_recalled_exactly"
EACH: Final = "test_memory_step:test_newton_schulz_acts_on_each_matrix_by_itself_and_keeps_zero"


def _unit_keys(_: Config, inputs: Arrays) -> Arrays:
    length = np.sqrt((inputs["keys"] ** 2).sum(-1, keepdims=True))
    return {"keys": inputs["keys"] / np.where(length > 0, length, 1.0)}


def _silu_values(_: Config, inputs: Arrays) -> Arrays:
    return {"values": inputs["values"] / (1.0 + np.exp(-np.clip(inputs["values"], -60.0, 60.0)))}


def _never_forgets(_: Config, inputs: Arrays) -> Arrays:
    return {"retention": np.ones_like(inputs["retention"])}


INDEX_OF_XI = "misreading: the anchor xi and indices that begin at one"
MLP_MEMORY = "misreading: the MLP memory: residual, activation, normalisation"
TWO_MINUS_SIGNS = "misreading: two minus signs make an ascent"
ALPHA_OR_REST = "misreading: retention or forgetting: alpha or 1 - alpha"
STEP_AND_MOMENTUM = "misreading: the step size inside or outside the momentum"
STEP_AND_NS = "misreading: the step size inside or outside Newton-Schulz"
NS_DETAILS = "misreading: coefficients, steps, eps and transpose of Newton-Schulz"
FACTOR_TWO = "misreading: the factor 2 of the squared error"
BACK_THROUGH_MLP = "porting: back-propagation through the MLP memory"
OTHER_LOSS = "misreading: the dot product or the absolute error for the squared one"
SILU_OR_NORM_TWICE = "misreading: SiLU on values, inside the convolution, normalisation twice"
LAYOUT = "porting: another layout of the packed matrices"


def _old_momentum(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    return {"momentum": inputs["momentum"]} if config["rule"] == "delta" else {}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("mem-anchor-moved-late", "MEM-1b", STEP, ORDER, computed(AnchorLate), INDEX_OF_XI),
    Fault("mem-anchor-moved-early", "MEM-1b", STEP, ORDER, computed(AnchorEarly), INDEX_OF_XI),
    Fault("mem-anchored-before-reset", "MEM-1a", STEP, ORDER, computed(AnchorBeforeReset), INDEX_OF_XI),
    Fault("mem-mlp-without-residual", "MEM-3b", STEP, VALUE, computed(WithoutResidual), MLP_MEMORY),
    Fault("mem-gelu-by-tanh", "MEM-3c", STEP, GELU, computed(TanhGelu), MLP_MEMORY),
    Fault("rule-ascent", "RULE-1", STEP, TABLE, computed(Ascent), TWO_MINUS_SIGNS),
    Fault("rule-retention-after-write", "RULE-1d", STEP, TABLE, computed(RetentionAfterWrite), ALPHA_OR_REST),
    Fault("rule-momentum-decay-late", "RULE-1", STEP, TABLE, computed(MomentumDecayLate), STEP_AND_MOMENTUM),
    Fault("rule-momentum-undecayed", "RULE-1", STEP, TABLE, computed(MomentumUndecayed), STEP_AND_MOMENTUM),
    Fault(
        "rule-retention-inverted",
        "RULE-1",
        STEP,
        TABLE,
        with_inputs(lambda _, inputs: {"retention": 1.0 - inputs["retention"]}),
        ALPHA_OR_REST,
    ),
    Fault("rule-atlas-step-inside", "RULE-2a", STEP, ATLAS, computed(StepInsideNewtonSchulz), STEP_AND_NS),
    Fault("rule-atlas-wrong-polynomial", "RULE-2a", STEP, ATLAS, computed(WrongPolynomial), NS_DETAILS),
    Fault(
        "rule-atlas-not-orthogonalised", "RULE-2a", STEP, ATLAS, with_config(lambda _: {"rule": "omega"}), NS_DETAILS
    ),
    Fault(
        "rule-appendix-step-outside", "RULE-3b", STEP, APPENDIX, with_config(lambda _: {"rule": "atlas"}), STEP_AND_NS
    ),
    Fault("rule-delta-with-momentum", "RULE-4a", STEP, DELTA, computed(DeltaWithMomentum), STEP_AND_MOMENTUM),
    Fault("rule-first-write-climbs", "RULE-5", STEP, DESCENT, computed(Ascent), TWO_MINUS_SIGNS),
    Fault("rule-loss-scale-ignored", "RULE-6c", STEP, LOSS, computed(LossScaleIgnored), FACTOR_TWO),
    Fault("rule-inner-slope-missing", "RULE-6b", STEP, LOSS, computed(InnerSlopeMissing), BACK_THROUGH_MLP),
    Fault("rule-hebbian", "RULE-6a", STEP, LOSS, computed(Hebbian), OTHER_LOSS),
    Fault("rule-gradient-doubled", "RULE-7a", STEP, RECALL, computed(GradientDoubled), FACTOR_TWO),
    Fault(
        "rule-tall-matrices-left-alone",
        "RULE-11c",
        STEP,
        EACH,
        computed(TallLeftAlone),
        "source: large matrices normalised by column or row, and called orthogonal",
    ),
    Fault(
        "rule-one-norm-for-all-matrices",
        "RULE-11a",
        STEP,
        EACH,
        computed(OneNorm),
        "misreading: Newton-Schulz over what is one matrix only together",
    ),
    Fault(
        "rule-adaptive-step",
        "RULE-1",
        STEP,
        TABLE,
        computed(AdaptiveStep),
        "source: the step divided by one plus the length of the gradient",
    ),
    Fault("rule-state-clipped", "RULE-1", STEP, TABLE, computed(NormClipped), "source: M scaled back at a norm of 50"),
    Fault(
        "rule-step-size-twice",
        "RULE-1",
        STEP,
        TABLE,
        computed(StepTwice),
        "misreading: the step size in the gradient and once more outside",
    ),
    Fault("rule-momentum-averaged", "RULE-1", STEP, TABLE, computed(MomentumAveraged), STEP_AND_MOMENTUM),
    Fault("rule-retention-dropped", "RULE-1", STEP, TABLE, with_inputs(_never_forgets), ALPHA_OR_REST),
    Fault("rule-keys-normalised-again", "RULE-1", STEP, TABLE, with_inputs(_unit_keys), SILU_OR_NORM_TWICE),
    Fault("rule-values-through-silu", "RULE-1", STEP, TABLE, with_inputs(_silu_values), SILU_OR_NORM_TWICE),
    Fault("rule-value-with-the-wrong-sign", "RULE-6a", STEP, LOSS, computed(GradientAscends), TWO_MINUS_SIGNS),
    Fault(
        "rule-mean-over-values",
        "RULE-6a",
        STEP,
        LOSS,
        computed(MeanOverValues),
        "source: gradients as a mean over values, window or chunk",
    ),
    Fault("rule-absolute-error", "RULE-6a", STEP, LOSS, computed(SignGradient), OTHER_LOSS),
    Fault("rule-outer-matrix-only", "RULE-6b", STEP, LOSS, computed(OuterMatrixOnly), BACK_THROUGH_MLP),
    Fault("rule-residual-not-learned", "RULE-6b", STEP, LOSS, computed(ResidualNotLearned), MLP_MEMORY),
    Fault(
        "rule-atlas-norm-multiplied-back",
        "RULE-2a",
        STEP,
        ATLAS,
        computed(NormMultipliedBack),
        "source: the length of the matrix comes back after Newton-Schulz",
    ),
    Fault("rule-atlas-normalised-only", "RULE-2a", STEP, ATLAS, computed(NormalisedOnly), NS_DETAILS),
    Fault(
        "rule-atlas-orthogonalised-before-momentum",
        "RULE-2b",
        STEP,
        ATLAS,
        computed(GradientOrthogonalised),
        "source: orthogonalise first and average after",
    ),
    Fault(
        "rule-atlas-five-steps-always",
        "RULE-2a",
        STEP,
        ATLAS,
        with_config(lambda _: {"newton_schulz_steps": 5}),
        NS_DETAILS,
    ),
    Fault(
        "rule-atlas-one-set-for-all",
        "RULE-2a",
        STEP,
        ATLAS,
        with_config(lambda _: {"coefficients": "quintic"}),
        NS_DETAILS,
    ),
    Fault(
        "rule-appendix-not-orthogonalised",
        "RULE-3a",
        STEP,
        APPENDIX,
        with_config(lambda _: {"rule": "titans"}),
        NS_DETAILS,
    ),
    Fault("mem-packed-by-columns", "MEM-3a", STEP, VALUE, computed(ByColumns), LAYOUT),
    Fault("mem-inner-matrix-first", "MEM-3b", STEP, VALUE, computed(InnerMatrixFirst), LAYOUT),
    Fault("mem-residual-in-the-matrix", "MEM-3a", STEP, VALUE, computed(ResidualInMatrix), MLP_MEMORY),
    Fault("mem-silu-for-gelu", "MEM-3c", STEP, VALUE, computed(SiluForGelu), MLP_MEMORY),
    Fault("mem-gelu-by-the-logistic", "MEM-3c", STEP, GELU, computed(LogisticGelu), MLP_MEMORY),
    Fault("mem-read-standardised", "MEM-3", STEP, VALUE, computed(ReadStandardised), MLP_MEMORY),
    Fault("mem-query-normalised-again", "MEM-3", STEP, VALUE, computed(QueryNormalised), SILU_OR_NORM_TWICE),
    Fault(
        "mem-reads-the-anchor",
        "MEM-1d",
        STEP,
        ORDER,
        computed(AnchorRead),
        "misreading: reads before or after the write",
    ),
    Fault("mem-anchored-after-the-write", "MEM-1c", STEP, ORDER, computed(AnchoredAfterTheWrite), INDEX_OF_XI),
    Fault("mem-identity-repeats", "MEM-3d", STEP, VALUE, computed(IdentityRepeats), MLP_MEMORY),
    Fault("rule-titans-step-outside", "RULE-1a", STEP, TABLE, computed(TitansStepOutside), STEP_AND_MOMENTUM),
    Fault("rule-omega-step-inside", "RULE-1b", STEP, TABLE, computed(OmegaStepInside), STEP_AND_MOMENTUM),
    Fault("rule-omega-without-momentum", "RULE-1c", STEP, TABLE, computed(OmegaWithoutMomentum), STEP_AND_MOMENTUM),
    Fault(
        "rule-appendix-norm-multiplied-back",
        "RULE-3c",
        STEP,
        APPENDIX,
        computed(NormMultipliedBack),
        "source: the length of the matrix comes back after Newton-Schulz",
    ),
    Fault("rule-delta-returns-old-momentum", "RULE-4b", STEP, DELTA, with_outputs(_old_momentum), STEP_AND_MOMENTUM),
    Fault("rule-recall-packed-by-columns", "RULE-7b", STEP, RECALL, computed(ByColumns), LAYOUT),
    Fault("rule-wide-matrices-left-alone", "RULE-11b", STEP, EACH, computed(WideLeftAlone), NS_DETAILS),
    Fault(
        "rule-zero-momentum-divides",
        "RULE-11d",
        STEP,
        EACH,
        computed(ZeroDivides),
        "porting: a division by zero, or its derivative",
    ),
    *multiplied("step", Op.MEMORY_STEP, "MEM-5c", "test_memory_step_sight", "weights", "window_keys"),
)

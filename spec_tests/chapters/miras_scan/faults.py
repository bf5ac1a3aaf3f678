"""Faults of the axes of MIRAS that are neither biases nor links."""

from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.chapters.miras_scan.wrong_axes import (
    Affine,
    AnchorAfterReset,
    AnchorDual,
    AnchorOfTheCall,
    ColumnsForRows,
    CurvatureOfSmallErrors,
    CurvatureOfTheMemory,
    CurvatureWithoutDeviation,
    FirstGate,
    GateMatrixFirst,
    GateOutside,
    IdentityNormalised,
    ImplicitAsAStep,
    ImplicitAtTheStart,
    ImplicitDiagonal,
    ImplicitWithoutStep,
    LastStateRead,
    NormOutsideTheBracket,
    NormWithoutSlope,
    OuterMatrixKept,
    PreviousForAnchor,
    PreviousForRetained,
    ProximalAsLink,
    ProximalWithoutStep,
    ResetKeepsTheDual,
    RetainedForPrevious,
    RootMeanSquare,
    RowsForColumns,
    SaturatedValues,
    WithoutIdentity,
)
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    averaged,
    forgotten,
    gradients_lost,
    multiplied,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Op

SCAN: Final = Op.MIRAS_SCAN
LOOP: Final = "test_miras_scan:test_reads_and_last_state_are_those_of_the_loop_for_every_two_values"
WHERE: Final = "test_miras_scan:test_the_error_is_that_of_what_retention_leaves_or_of_the_memory_before_it"
LEAST: Final = "test_miras_scan:test_implicit_is_the_minimum_of_its_objective_for_every_step"
AXIS: Final = "test_miras_scan:test_retention_multiplies_all_or_rows_or_columns"
LINEAR: Final = "test_miras_scan:test_reads_are_linear_in_the_values"
PROXIMAL: Final = "test_miras_scan:test_proximal_elastic_shrinks_the_state_by_a_multiple_of_the_step"
PREDICTS: Final = "test_miras_scan:test_a_memory_predicts_what_its_architecture_says"
DOWN: Final = "test_miras_scan:test_a_write_goes_down_the_loss_of_every_matrix_of_the_architecture"
PLAIN: Final = "test_miras_scan:test_with_the_values_that_chapter_mem_has_it_answers_as_the_memory_does"
RESET: Final = "test_miras_scan_documents:test_a_reset_equals_a_fresh_start_under_every_axis"
SPLIT: Final = "test_miras_scan_documents:test_any_split_into_calls_agrees_under_every_axis"
ROWS: Final = "test_miras_scan_documents:test_rows_are_independent_under_every_axis"
CAUSAL: Final = "test_miras_scan_documents:test_a_read_depends_on_no_later_token_under_every_axis"
SLOPES: Final = "test_miras_scan_documents:test_derivatives_are_those_of_the_loop_under_every_axis"

ANCHOR: Final = "test_miras_scan_anchor:test_anchor_reads_the_memory_before_the_first_token_of_the_chunk"
BROUGHT: Final = "test_miras_scan_anchor:test_anchor_reads_in_the_middle_of_a_chunk_what_the_state_brings"
BEGUN: Final = "test_miras_scan_anchor:test_anchor_reads_the_initial_memory_after_a_reset"
DIVIDED: Final = "test_miras_scan_anchor:test_behind_a_layer_norm_a_gradient_is_divided_by_its_curvature"

READ_ORDER: Final = "misreading: reads before or after the write"
BOUND: Final = "misreading: the curvature of the loss: of the key alone, without its error, at another memory"
PLACE: Final = "misreading: the error of delta before or after retention"
SOLVED: Final = "source: Longhorn's diagonal approximation, or a step of descent, for the minimiser"
CHANNELS: Final = "misreading: channel-wise: of rows or of columns"
NORM: Final = "source: the slope of a normalisation without its mean terms, or with them outside the bracket"
RESIDUAL: Final = "misreading: the MLP memory: residual, activation, normalisation"
SHRINKING: Final = "misreading: the elastic net as a link or as a proximal step"
BIASED: Final = "source: a memory with a constant of its own, or values through a function"
LAYOUT: Final = "porting: another layout of the packed matrices"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"
LAST: Final = "source: a sequence is written whole and read with the last state: the future leaks"

SIZES: Final = "test_miras_scan_sizes:test_calls_of_every_size_give_what_the_loop_gives"


def _first_block_only(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Leave what tokens after the first block of 64 read at zero."""
    reads = outputs["reads"].copy()
    reads[:, 64:] = 0.0
    return {"reads": reads}


LONG: Final = "test_miras_scan_long:test_a_call_of_many_blocks_is_that_of_the_loops"
EACH: Final = "test_miras_scan_long:test_every_row_and_head_gets_its_own_gradient"


def _as_given(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Hand the momentum back as it came."""
    return {"momentum": inputs["momentum"]}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("miras-previous-for-retained", "RULE-12a", SCAN, WHERE, computed(PreviousForRetained), PLACE),
    Fault("miras-retained-for-previous", "RULE-12b", SCAN, WHERE, computed(RetainedForPrevious), PLACE),
    Fault("miras-implicit-without-step", "RULE-13a", SCAN, LEAST, computed(ImplicitWithoutStep), SOLVED),
    Fault("miras-implicit-diagonal", "RULE-13a", SCAN, LEAST, computed(ImplicitDiagonal), SOLVED),
    Fault("miras-implicit-as-a-step", "RULE-13b", SCAN, LEAST, computed(ImplicitAsAStep), SOLVED),
    Fault("miras-implicit-at-the-start", "RULE-13c", SCAN, LEAST, computed(ImplicitAtTheStart), SOLVED),
    Fault("miras-outer-matrix-kept", "RULE-15a", SCAN, AXIS, computed(OuterMatrixKept), CHANNELS),
    Fault("miras-columns-for-rows", "RULE-15b", SCAN, AXIS, computed(ColumnsForRows), CHANNELS),
    Fault("miras-rows-for-columns", "RULE-15c", SCAN, AXIS, computed(RowsForColumns), CHANNELS),
    Fault("miras-first-gate-for-all", "RULE-15c", SCAN, AXIS, computed(FirstGate), CHANNELS),
    Fault("miras-saturated-values", "RULE-16a", SCAN, LINEAR, computed(SaturatedValues), BIASED),
    Fault("miras-affine", "RULE-16b", SCAN, LINEAR, computed(Affine), BIASED),
    Fault("miras-proximal-as-link", "RULE-17a", SCAN, PROXIMAL, computed(ProximalAsLink), SHRINKING),
    Fault("miras-proximal-without-step", "RULE-17b", SCAN, PROXIMAL, computed(ProximalWithoutStep), SHRINKING),
    Fault("miras-norm-without-identity", "RULE-18a", SCAN, PREDICTS, computed(WithoutIdentity), RESIDUAL),
    Fault("miras-identity-normalised", "RULE-18b", SCAN, PREDICTS, computed(IdentityNormalised), RESIDUAL),
    Fault("miras-gate-outside", "RULE-18c", SCAN, PREDICTS, computed(GateOutside), RESIDUAL),
    Fault("miras-gate-matrix-first", "RULE-18c", SCAN, PREDICTS, computed(GateMatrixFirst), LAYOUT),
    Fault("miras-root-mean-square", "RULE-18d", SCAN, PREDICTS, computed(RootMeanSquare), NORM),
    Fault("miras-norm-outside-the-bracket", "RULE-18e", SCAN, DOWN, computed(NormOutsideTheBracket), NORM),
    Fault("miras-norm-without-slope", "RULE-18e", SCAN, DOWN, computed(NormWithoutSlope), NORM),
    Fault("miras-norm-lost-in-the-loop", "RULE-18e", SCAN, LOOP, computed(NormOutsideTheBracket), NORM),
    Fault("miras-previous-for-anchor", "RULE-25a", SCAN, ANCHOR, computed(PreviousForAnchor), READ_ORDER),
    Fault("miras-anchor-without-link", "RULE-25a", SCAN, ANCHOR, computed(AnchorDual), READ_ORDER),
    Fault("miras-anchor-of-the-call", "RULE-25b", SCAN, BROUGHT, computed(AnchorOfTheCall), READ_ORDER),
    Fault("miras-anchor-of-the-last-document", "RULE-25c", SCAN, BEGUN, computed(AnchorAfterReset), READ_ORDER),
    Fault("miras-curvature-without-deviation", "RULE-26a", SCAN, DIVIDED, computed(CurvatureWithoutDeviation), BOUND),
    Fault("miras-curvature-of-small-errors", "RULE-26b", SCAN, DIVIDED, computed(CurvatureOfSmallErrors), BOUND),
    Fault("miras-curvature-of-the-memory", "RULE-26c", SCAN, LOOP, computed(CurvatureOfTheMemory), BOUND),
    Fault(
        "miras-momentum-not-taken",
        "MEM-2",
        SCAN,
        LOOP,
        with_inputs(lambda _, x: {"momentum": 0.0 * x["momentum"]}),
        NOT_HANDED_ON,
    ),
    Fault(
        "miras-chunk-of-one-more",
        "RULE-19",
        SCAN,
        PLAIN,
        with_config(lambda config: {"chunk": int(config["chunk"]) + 1}),
        "misreading: the anchor xi and indices that begin at one",
    ),
    Fault(
        "miras-reset-keeps-the-dual",
        "MEM-5c",
        SCAN,
        RESET,
        computed(ResetKeepsTheDual),
        "source: a reset that resets the momentum only",
    ),
    Fault("miras-anchor-dropped-between-calls", "MEM-7a", SCAN, SPLIT, forgotten("anchor"), NOT_HANDED_ON),
    Fault(
        "miras-state-averaged",
        "MEM-8b",
        SCAN,
        ROWS,
        averaged("weights"),
        "source: state kept as the mean over the batch",
    ),
    Fault("miras-last-state-read", "MEM-9a", SCAN, CAUSAL, computed(LastStateRead), LAST),
    Fault(
        "miras-first-block-only",
        "MEM-2b",
        SCAN,
        SIZES,
        with_outputs(_first_block_only),
        "porting: tokens after the last whole chunk are forgotten",
    ),
    Fault("miras-keys-not-learned", "GRAD-1a", SCAN, SLOPES, gradients_lost("keys"), DERIVATIVE),
    Fault("miras-retention-not-learned", "GRAD-2a", SCAN, SLOPES, gradients_lost("retention"), DERIVATIVE),
    Fault("miras-anchor-not-learned", "GRAD-3d", SCAN, SLOPES, gradients_lost("anchor"), DERIVATIVE),
    Fault(
        "miras-initial-learned-twice",
        "GRAD-3a",
        SCAN,
        SLOPES,
        with_outputs(lambda _, __, y: {n: 2.0 * y[n] + 0.01 * np.ones_like(y[n]) for n in y if n == "grad.initial"}),
        DERIVATIVE,
    ),
    Fault("miras-state-handed-back", "MEM-7a", SCAN, LONG, with_outputs(_as_given), NOT_HANDED_ON),
    Fault("miras-window-not-learned", "GRAD-3e", SCAN, EACH, gradients_lost("window_keys"), DERIVATIVE),
    *multiplied("miras", SCAN, "MEM-5c", "test_miras_scan_sight", "weights", "window_keys"),
)

"""Faults of the links."""

from typing import Final

import numpy as np

from spec_tests.chapters.link.wrong_links import (
    ConjugateExponent,
    DividesByZero,
    ExactForPrinted,
    GradientAtTheDual,
    LogitsAsTheyGrew,
    NotShrunk,
    OneNormForAll,
    PrintedForExact,
    ReadsTheDual,
    RecurrenceOnW,
    ResetToTheLinked,
    RetentionInTheLogarithm,
    ScaledLogits,
    ShrunkInTheState,
    SigmoidByTanh,
    SoftmaxOfAll,
    SoftmaxOfColumns,
    StaleMaximum,
    ThroughTheLink,
)
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_outputs
from spec_tests.port import Numerics, Op, Run

SCAN: Final = Op.MIRAS_SCAN
DUAL: Final = "test_link:test_recurrences_act_on_the_dual_and_reads_and_gradients_see_its_image"
CHAIN: Final = "test_link:test_a_write_is_not_taken_through_the_link_and_derivatives_of_the_whole_are"
MIRROR: Final = "test_link:test_lq_is_a_mirror_map_of_degree_one_and_lq_printed_is_its_quotient"
ROWS: Final = "test_link:test_rows_of_a_softmax_memory_sum_to_its_scale_and_its_state_is_a_logarithm"
SHRUNK: Final = "test_link:test_soft_threshold_shrinks_what_is_read_and_leaves_the_state"
MEMORA: Final = "test_link:test_softmax_with_a_chunk_of_one_token_is_memora_as_printed"
ZERO: Final = "test_link:test_a_state_of_zeros_is_read_as_zero_and_has_finite_derivatives_under_lq"
RESET: Final = "test_link:test_a_reset_restores_the_dual_so_that_the_memory_is_its_image"
ONE: Final = "test_link:test_sigmoid_is_that_of_each_entry_and_every_link_acts_on_one_matrix"

ONE_STATE: Final = "misreading: one state for the dual and for the memory"
PRINTED: Final = "misreading: Moneta's printed quotient for the mirror map"
EXPONENT: Final = "misreading: q of the dual norm or of the regulariser"
SLICE: Final = "misreading: the softmax of a slice: of a row, a column or the matrix"
CONSTANT: Final = "porting: logits that are the same up to a constant"
RETENTION: Final = "misreading: retention before or after the logarithm"
SHRINKING: Final = "misreading: the elastic net as a link or as a proximal step"
NOT_A_NUMBER: Final = "porting: a division by zero, or its derivative"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"


def _straight_through() -> Wrap:
    """Build a fault whose derivatives are those of the identity."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            sound = run(op, config, inputs, numerics=numerics, taps=taps)
            if not any(name.startswith("cotangent.") for name in inputs):
                return sound
            plain = run(op, {**config, "link": "identity"}, inputs, numerics=numerics, taps=taps)
            return {**sound, **{name: value for name, value in plain.items() if name.startswith("grad.")}}

        return faulty

    return wrap


def _not_a_number(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Differentiate the norm where it is zero."""
    zero = config["link"] == "lq" and not inputs["weights"].any() and "grad.weights" in outputs
    return {"grad.weights": np.full_like(outputs["grad.weights"], np.nan)} if zero else {}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("link-recurrence-on-w", "LINK-1a", SCAN, DUAL, computed(RecurrenceOnW), ONE_STATE),
    Fault("link-reads-the-dual", "LINK-1b", SCAN, DUAL, computed(ReadsTheDual), ONE_STATE),
    Fault("link-gradient-at-the-dual", "LINK-1c", SCAN, DUAL, computed(GradientAtTheDual), ONE_STATE),
    Fault(
        "link-gradient-by-the-dual",
        "LINK-2a",
        SCAN,
        CHAIN,
        computed(ThroughTheLink),
        "misreading: gradient descent in the dual for mirror descent",
    ),
    Fault("link-straight-through", "LINK-2b", SCAN, CHAIN, _straight_through(), DERIVATIVE),
    Fault("link-printed-for-exact", "LINK-3a", SCAN, MIRROR, computed(PrintedForExact), PRINTED),
    Fault("link-conjugate-exponent", "LINK-3a", SCAN, MIRROR, computed(ConjugateExponent), EXPONENT),
    Fault("link-exact-for-printed", "LINK-3b", SCAN, MIRROR, computed(ExactForPrinted), PRINTED),
    Fault("link-softmax-of-the-matrix", "LINK-4a", SCAN, ROWS, computed(SoftmaxOfAll), SLICE),
    Fault("link-softmax-of-columns", "LINK-4a", SCAN, ROWS, computed(SoftmaxOfColumns), SLICE),
    Fault("link-softmax-without-scale", "LINK-4a", SCAN, ROWS, with_config(lambda _: {"link_scale": 1.0}), SLICE),
    Fault("link-logits-as-they-grew", "LINK-4b", SCAN, ROWS, computed(LogitsAsTheyGrew), CONSTANT),
    Fault("link-logits-of-the-scaled", "LINK-4b", SCAN, ROWS, computed(ScaledLogits), CONSTANT),
    Fault("link-not-shrunk", "LINK-5a", SCAN, SHRUNK, computed(NotShrunk), SHRINKING),
    Fault("link-shrunk-in-the-state", "LINK-5b", SCAN, SHRUNK, computed(ShrunkInTheState), SHRINKING),
    Fault("link-retention-in-the-logarithm", "LINK-6", SCAN, MEMORA, computed(RetentionInTheLogarithm), RETENTION),
    Fault("link-stale-maximum", "LINK-6", SCAN, MEMORA, computed(StaleMaximum), CONSTANT),
    Fault("link-divides-by-zero", "LINK-7a", SCAN, ZERO, computed(DividesByZero), NOT_A_NUMBER),
    Fault("link-slope-not-a-number", "LINK-7b", SCAN, ZERO, with_outputs(_not_a_number), NOT_A_NUMBER),
    Fault("link-reset-to-the-linked", "LINK-8", SCAN, RESET, computed(ResetToTheLinked), ONE_STATE),
    Fault("link-sigmoid-by-tanh", "LINK-9a", SCAN, ONE, computed(SigmoidByTanh), SLICE),
    Fault("link-one-norm-for-all", "LINK-9b", SCAN, ONE, computed(OneNormForAll), SLICE),
    Fault("link-always-identity", "LINK-1", SCAN, DUAL, with_config(lambda _: {"link": "identity"}), ONE_STATE),
)

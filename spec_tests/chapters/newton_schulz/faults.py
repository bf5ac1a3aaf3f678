"""Faults of Newton-Schulz."""

from functools import partial
from typing import Final

import numpy as np

from spec_tests.chapters.newton_schulz.wrong_iterations import (
    cycling,
    iterated,
    left_product,
    norm_of_batch,
    norm_of_each,
    of_the_set,
    right_product,
    square_product,
    started,
    tiled,
    uncushioned,
)
from spec_tests.chapters.newton_schulz.wrong_results import (
    columns_normalised,
    gradient_of_unit_norm,
    nan_at_zero,
    nan_gradient_at_zero,
    norm_detached,
    one_step_less,
    polar,
    rows_normalised,
    scaled_back,
    square_overflows,
    straight_through,
    tiny_unchanged,
    zero_gradient_at_zero,
)
from spec_tests.faults.fault import Fault, with_config, with_outputs
from spec_tests.port import Numerics, Op, round_to_bf16


def _ns(name: str) -> str:
    return f"test_newton_schulz:test_{name}"


NS_LARGE = "test_newton_schulz_large:test_a_matrix_with_both_sides_above_128_is_that_of_the_iteration"
NS_LITERAL = _ns("the_result_is_the_literal_iteration")
NS_VECTORS = _ns("singular_vectors_are_kept_and_singular_values_follow_the_scalar_iteration")
NS_SCALE = _ns("the_scale_of_the_input_does_not_matter")
NS: Final = Op.NEWTON_SCHULZ
NS_TALL = "test_newton_schulz:test_a_tall_matrix_gives_the_transpose_of_the_wide_result"
NS_POLAR = "test_newton_schulz:test_the_cubic_and_polar_express_sets_converge_to_the_polar_factor"
NS_ZERO = "test_newton_schulz:test_zero_gives_zero_and_a_finite_gradient"
NS_GRADIENT = "test_newton_schulz:test_the_gradient_runs_through_every_step_and_the_norm"


NS_CLAMP = "test_newton_schulz_start:test_what_the_norm_is_kept_from_zero_by_is_as_the_configuration_says"
NS_CLAMP_GRADIENT = "test_newton_schulz_start:test_below_its_bound_a_clamped_norm_has_no_gradient"
NS_PAPER = "test_newton_schulz_start:test_the_published_algorithm_has_its_cushion_at_the_start_too"


WRONG_SIDE = "source: Newton-Schulz multiplies from the wrong side, X (X X^T)"
NS_DETAILS = "misreading: coefficients, steps, eps and transpose of Newton-Schulz"
BY_ROW_OR_COLUMN = "source: large matrices normalised by column or row, and called orthogonal"
QUINTIC_CONVERGES = "source: the claim that the quintic set converges to one"
DIVISION_BY_ZERO = "porting: a division by zero, or its derivative"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"


NS_BAND = _ns("the_quintic_set_ends_in_its_band_and_not_at_one")

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("ns-wrong-side", "NS-1b", Op.NEWTON_SCHULZ, NS_LITERAL, iterated(right_product, norm_of_each), WRONG_SIDE),
    Fault(
        "ns-without-transpose",
        "NS-1b",
        Op.NEWTON_SCHULZ,
        NS_LITERAL,
        iterated(square_product, norm_of_each),
        NS_DETAILS,
    ),
    Fault(
        "ns-one-step-less",
        "NS-1b",
        Op.NEWTON_SCHULZ,
        NS_LITERAL,
        with_config(lambda config: {"steps": max(int(config["steps"]) - 1, 0)}),
        NS_DETAILS,
    ),
    Fault(
        "ns-columns-normalised-when-tall",
        "NS-2",
        Op.NEWTON_SCHULZ,
        _ns("a_tall_matrix_gives_the_transpose_of_the_wide_result"),
        with_outputs(columns_normalised),
        BY_ROW_OR_COLUMN,
    ),
    Fault(
        "ns-wrong-side-turns-vectors",
        "NS-3a",
        Op.NEWTON_SCHULZ,
        NS_VECTORS,
        iterated(right_product, norm_of_each),
        WRONG_SIDE,
    ),
    Fault(
        "ns-cubic-for-quintic",
        "NS-4b",
        Op.NEWTON_SCHULZ,
        _ns("the_quintic_set_ends_in_its_band_and_not_at_one"),
        with_config(lambda _: {"coefficients": "cubic"}),
        QUINTIC_CONVERGES,
    ),
    Fault(
        "ns-quintic-for-every-set",
        "NS-5a",
        Op.NEWTON_SCHULZ,
        _ns("the_cubic_and_polar_express_sets_converge_to_the_polar_factor"),
        with_config(lambda _: {"coefficients": "quintic"}),
        NS_DETAILS,
    ),
    Fault(
        "ns-nan-at-zero",
        "NS-6a",
        Op.NEWTON_SCHULZ,
        _ns("zero_gives_zero_and_a_finite_gradient"),
        nan_at_zero("matrix", "orthogonal"),
        DIVISION_BY_ZERO,
    ),
    Fault(
        "ns-tiny-input-unchanged",
        "NS-7c",
        Op.NEWTON_SCHULZ,
        NS_SCALE,
        with_outputs(tiny_unchanged),
        "source: a matrix of norm below 1e-7 is returned as it is",
    ),
    Fault(
        "ns-norm-multiplied-back",
        "NS-7a",
        Op.NEWTON_SCHULZ,
        NS_SCALE,
        with_outputs(scaled_back),
        "source: the length of the matrix comes back after Newton-Schulz",
    ),
    Fault(
        "ns-not-normalised",
        "NS-7a",
        Op.NEWTON_SCHULZ,
        NS_SCALE,
        iterated(left_product, np.ones_like),
        "source: Newton-Schulz without normalising first: any singular value above sqrt(3) diverges",
    ),
    Fault(
        "ns-straight-through-gradient",
        "NS-8a",
        Op.NEWTON_SCHULZ,
        _ns("the_gradient_runs_through_every_step_and_the_norm"),
        with_outputs(straight_through),
        DERIVATIVE,
    ),
    Fault(
        "ns-norm-over-the-batch",
        "NS-9",
        Op.NEWTON_SCHULZ,
        _ns("each_matrix_of_a_batch_stands_alone"),
        iterated(left_product, norm_of_batch),
        "misreading: Newton-Schulz over what is one matrix only together",
    ),
    Fault(
        "ns-at-most-three-steps",
        "NS-1b",
        NS,
        NS_LITERAL,
        with_config(lambda c: {"steps": min(3, int(c["steps"]))}),
        "source: steps of Newton-Schulz that shrink with the age of the state",
    ),
    Fault("ns-spectral-start", "NS-1a", NS, NS_LITERAL, with_outputs(partial(started, spectral=True)), NS_DETAILS),
    Fault("ns-set-begins-again", "NS-1d", NS, NS_LITERAL, with_outputs(cycling), NS_DETAILS),
    Fault("ns-without-cushion", "NS-10a", NS, NS_LITERAL, with_outputs(uncushioned), NS_DETAILS),
    Fault("ns-exact-polar-factor", "NS-1", NS, NS_LITERAL, with_outputs(polar), QUINTIC_CONVERGES),
    Fault(
        "ns-result-in-bfloat16",
        "NS-1b",
        NS,
        NS_LITERAL,
        with_outputs(lambda _, __, y: {"orthogonal": round_to_bf16(y["orthogonal"])}),
        "source: accumulators in bfloat16 stall",
    ),
    Fault("ns-rows-normalised-when-wide", "NS-2", NS, NS_TALL, with_outputs(rows_normalised), BY_ROW_OR_COLUMN),
    Fault(
        "ns-cubic-for-polar-express",
        "NS-5b",
        NS,
        NS_POLAR,
        with_config(lambda config: {"coefficients": "cubic"} if config["coefficients"] == "polar_express" else {}),
        NS_DETAILS,
    ),
    Fault("ns-gradient-nan-at-zero", "NS-6b", NS, NS_ZERO, with_outputs(nan_gradient_at_zero), DIVISION_BY_ZERO),
    Fault("ns-offset-of-1e-5", "NS-7a", NS, NS_SCALE, with_outputs(partial(started, offset=1e-5)), NS_DETAILS),
    Fault("ns-norm-detached", "NS-8b", NS, NS_GRADIENT, with_outputs(norm_detached), DERIVATIVE),
    Fault(
        "ns-coefficients-one-step-late", "NS-1c", NS, NS_LITERAL, with_outputs(partial(of_the_set, late=1)), NS_DETAILS
    ),
    Fault(
        "ns-cushion-in-every-step",
        "NS-10b",
        NS,
        NS_LITERAL,
        with_outputs(partial(of_the_set, always=True)),
        NS_DETAILS,
        (Numerics.F64,),
        "the polynomial is flat at one: ten steps differ by 1e-5, which is what float32 makes of ten steps",
    ),
    Fault(
        "ns-cushion-at-the-start-too",
        "NS-10c",
        NS,
        NS_LITERAL,
        with_outputs(partial(of_the_set, start=1.01)),
        "misreading: the start of Polar Express divided by 1.01 as well",
    ),
    Fault("ns-all-singular-values-one", "NS-3b", NS, NS_VECTORS, with_outputs(polar), QUINTIC_CONVERGES),
    Fault(
        "ns-band-reached-late",
        "NS-4a",
        NS,
        NS_BAND,
        with_config(lambda c: {"steps": max(int(c["steps"]) - 2, 0)}),
        NS_DETAILS,
    ),
    Fault("ns-polar-express-one-step-less", "NS-5c", NS, NS_POLAR, with_config(one_step_less), NS_DETAILS),
    Fault("ns-gradient-zero-at-zero", "NS-6c", NS, NS_ZERO, with_outputs(zero_gradient_at_zero), DIVISION_BY_ZERO),
    Fault(
        "ns-square-overflows",
        "NS-7b",
        NS,
        NS_SCALE,
        with_outputs(square_overflows),
        "porting: squares overflow or underflow",
    ),
    Fault(
        "ns-clamp-ignored",
        "NS-11a",
        NS,
        NS_CLAMP,
        with_config(lambda _: {"start": "add"}),
        "misreading: what keeps the norm from zero",
    ),
    Fault(
        "ns-clamped-always",
        "NS-1a",
        NS,
        NS_CLAMP,
        with_config(lambda _: {"start": "clamp"}),
        "source: torch.optim.Muon, NVIDIA and titans-pytorch divide by the larger of norm and 1e-7",
    ),
    Fault(
        "ns-gradient-through-a-clamped-norm",
        "NS-11b",
        NS,
        NS_CLAMP_GRADIENT,
        with_outputs(gradient_of_unit_norm),
        DERIVATIVE,
    ),
    Fault(
        "ns-paper-start-without-cushion",
        "NS-12",
        NS,
        NS_PAPER,
        with_config(lambda c: {"coefficients": str(c["coefficients"]).removesuffix("_paper")}),
        "source: NVIDIA leaves the cushion of the start out",
    ),
    Fault("ns-border-tile-lost", "NS-1b", NS, NS_LARGE, with_outputs(tiled), NS_DETAILS),
)

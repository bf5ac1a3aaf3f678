"""Faults of the outer optimisers; most were found in a source system."""

from functools import partial
from typing import Final

from spec_tests.chapters.optimisers import wrong_sight
from spec_tests.chapters.optimisers.wrong_steps import (
    all_heads,
    counts_the_future,
    cushioned,
    decay_of_its_own,
    first_row,
    from_zero,
    gradient_itself,
    high_pass,
    length_restored,
    magnitude,
    orthogonalised_first,
    queries_alone,
    raised,
    replaced,
    root_of_negative,
    row_by_row,
    skipped_below,
    unclipped_dim,
    unit_presumed,
    whole_gamma,
    wide_scale,
    zero_divides,
)
from spec_tests.faults.fault import Fault, with_config, with_inputs, with_outputs
from spec_tests.port import Op

CLIP: Final = Op.QK_CLIP
GROKFAST: Final = Op.GROKFAST
MUON: Final = Op.MUON_STEP
PERP: Final = Op.PERP_GRAD


MUON_DETAILS = "misreading: Muon: momentum, scale, Nesterov; what is rescaled"
HIGH_PASS = "source: the averages of Grokfast subtracted: a high-pass filter"
LOGIT = "misreading: the logit of QK-clip: its scale and its sight"
CLIPPED_TWICE = "source: weights clipped by counting outputs, or twice"


MUON_STEP = "test_optimisers:test_muon_averages_then_orthogonalises_then_scales"
SLOW = "test_optimisers:test_grokfast_adds_the_slow_part"
ORTHOGONAL = "test_optimisers:test_perp_grad_is_orthogonal_to_the_weight"
RESCALED = "test_optimisers:test_rescaled_perp_grad_keeps_the_length"
CLIPPED = "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold"
SHORT = "test_optimisers_at_the_edges:test_a_short_weight_is_projected_out_like_a_long_one"
NEGATIVE = "test_optimisers_at_the_edges:test_heads_of_negative_and_of_small_logits_are_clipped_by_the_rule"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "opt-orthogonalised-before-momentum",
        "OPT-1a",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(orthogonalised_first),
        "source: orthogonalise first and average after",
    ),
    Fault(
        "opt-scaled-by-columns",
        "OPT-1d",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(wide_scale),
        MUON_DETAILS,
    ),
    Fault(
        "opt-without-nesterov",
        "OPT-1b",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_inputs(lambda config, x: {"gradient": (1 - float(config["momentum"])) * x["gradient"]}),
        MUON_DETAILS,
    ),
    Fault(
        "opt-length-restored",
        "OPT-2",
        MUON,
        "test_optimisers:test_the_size_of_the_gradient_does_not_matter_to_muon",
        with_outputs(length_restored),
        "source: the length of the matrix comes back after Newton-Schulz",
    ),
    Fault(
        "opt-high-pass",
        "OPT-3b",
        GROKFAST,
        "test_optimisers:test_grokfast_adds_the_slow_part",
        with_outputs(high_pass),
        HIGH_PASS,
    ),
    Fault(
        "opt-high-pass-amplifies-noise",
        "OPT-4",
        GROKFAST,
        "test_optimisers:test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly",
        with_outputs(high_pass),
        HIGH_PASS,
    ),
    Fault(
        "opt-average-from-zero",
        "OPT-4",
        GROKFAST,
        "test_optimisers:test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly",
        with_outputs(from_zero),
        "misreading: where Grokfast's average begins",
    ),
    Fault(
        "opt-perpendicular-row-by-row",
        "OPT-5b",
        PERP,
        "test_optimisers:test_perp_grad_is_orthogonal_to_the_weight",
        with_outputs(row_by_row),
        MUON_DETAILS,
    ),
    Fault(
        "opt-never-rescaled",
        "OPT-6a",
        PERP,
        "test_optimisers:test_rescaled_perp_grad_keeps_the_length",
        with_config(lambda _: {"rescale": False}),
        MUON_DETAILS,
    ),
    Fault(
        "opt-logit-without-root-of-dim",
        "OPT-7b",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(unclipped_dim),
        LOGIT,
    ),
    Fault(
        "opt-logit-of-the-future",
        "OPT-7d",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(counts_the_future),
        LOGIT,
    ),
    Fault(
        "opt-clipped-by-gamma",
        "OPT-8a",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(whole_gamma),
        CLIPPED_TWICE,
    ),
    Fault(
        "opt-all-heads-clipped",
        "OPT-8b",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(all_heads),
        CLIPPED_TWICE,
    ),
    Fault("opt-decay-without-the-rate", "OPT-1c", MUON, MUON_STEP, with_outputs(decay_of_its_own), MUON_DETAILS),
    Fault("opt-gradient-replaced", "OPT-3a", GROKFAST, SLOW, with_outputs(replaced), HIGH_PASS),
    Fault(
        "opt-average-of-the-new",
        "OPT-3b",
        GROKFAST,
        SLOW,
        with_config(lambda c: {"alpha": 1.0 - float(c["alpha"])}),
        HIGH_PASS,
    ),
    Fault("opt-unit-weight-presumed", "OPT-5a", PERP, ORTHOGONAL, with_outputs(unit_presumed), MUON_DETAILS),
    Fault(
        "opt-short-weights-skipped",
        "OPT-5c",
        PERP,
        SHORT,
        with_outputs(partial(skipped_below, bound=1e-5)),
        "source: a weight of norm below 1e-5 is not projected out",
    ),
    Fault(
        "opt-zero-weight-divides",
        "OPT-5d",
        PERP,
        ORTHOGONAL,
        with_outputs(zero_divides),
        "porting: a division by zero, or its derivative",
    ),
    Fault("opt-rescaled-in-vain", "OPT-6b", PERP, RESCALED, with_outputs(gradient_itself), MUON_DETAILS),
    Fault("opt-queries-clipped-alone", "OPT-7a", CLIP, CLIPPED, with_outputs(queries_alone), CLIPPED_TWICE),
    Fault("opt-logit-of-the-first-row", "OPT-7c", CLIP, NEGATIVE, with_outputs(first_row), LOGIT),
    Fault("opt-heads-at-rest-raised", "OPT-7e", CLIP, CLIPPED, with_outputs(raised), CLIPPED_TWICE),
    Fault(
        "opt-largest-magnitude",
        "OPT-7f",
        CLIP,
        NEGATIVE,
        with_outputs(magnitude),
        "source: the largest absolute logit, where negative ones need no clip",
    ),
    Fault(
        "opt-root-of-a-negative",
        "OPT-7f",
        CLIP,
        NEGATIVE,
        with_outputs(root_of_negative),
        "source: a negative maximum gives a root of a negative number",
    ),
    Fault(
        "opt-cushion-under-the-threshold",
        "OPT-7b",
        CLIP,
        NEGATIVE,
        with_outputs(cushioned),
        "source: 1e-6 added to the largest logit",
    ),
    Fault(
        "opt-muon-start-ignored",
        "OPT-1b",
        Op.MUON_STEP,
        "test_optimisers_by_key:test_muon_starts_its_iteration_as_the_configuration_says",
        with_config(lambda _: {"start": "add"}),
        "misreading: what keeps the norm from zero",
    ),
    Fault(
        "opt-clip-always-causal",
        "OPT-7g",
        CLIP,
        "test_optimisers_by_key:test_qk_clip_sees_later_keys_where_it_is_not_causal_and_only_there",
        with_config(lambda _: {"causal": True}),
        LOGIT,
    ),
    Fault(
        "opt-clip-never-causal",
        "OPT-7d",
        CLIP,
        "test_optimisers_by_key:test_qk_clip_sees_later_keys_where_it_is_not_causal_and_only_there",
        with_config(lambda _: {"causal": False}),
        "source: any clip fed with the formula of the report, which has no mask",
    ),
    *wrong_sight.FAULTS,
)

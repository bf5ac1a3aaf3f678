"""Faults of attention."""

from typing import Final

from spec_tests.chapters.attention.wrong_attention import (
    across_heads,
    attending,
    cache_in_sight,
    in_window,
    itself,
    needs_a_token,
    newest_first,
    no_reset,
    overflowing,
    rolled,
    symmetric,
    tokens_age_out,
)
from spec_tests.faults.fault import (
    Fault,
    averaged,
    cleared_by_an_empty_call,
    forgotten,
    gradients_lost,
    multiplied,
    one_token_late,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Op

ATTENTION = Op.SLIDING_WINDOW_ATTENTION


CAUSAL = "test_outputs_depend_on_their_own_token_and_not_on_later_ones"
ROWS = "test_rows_are_independent"
ATT_LITERAL = "test_attention:test_the_output_is_the_literal_softmax_over_the_keys_in_sight"
ATT_WINDOW = "test_attention:test_the_window_holds_the_token_itself_and_the_ones_before_it_exactly"
ATT_SPLIT = "test_attention:test_any_split_into_calls_gives_the_same_outputs_and_caches"
ATT_DOCUMENT = "test_attention:test_tokens_of_another_document_are_out_of_sight"
ATT_TOKENS = "test_attention:test_every_query_sees_every_persistent_token"
ATT_GRADIENT = "test_attention:test_the_gradients_are_those_of_the_softmax"


SCALE_AND_SIGHT = "misreading: the scale and the sight of attention"
TARGET_IN_SIGHT = "source: attention that is not causal, the target in sight"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"


ATT_EMPTY = "test_attention_at_the_edges:test_a_call_without_tokens_hands_the_cache_on_as_it_came"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("att-without-scale", "ATT-1b", ATTENTION, ATT_LITERAL, attending(scale=1.0), SCALE_AND_SIGHT),
    Fault(
        "att-normalised-across-heads",
        "ATT-1c",
        ATTENTION,
        ATT_LITERAL,
        with_inputs(across_heads),
        "source: queries and keys normalised over all heads at once: attention becomes uniform",
    ),
    Fault(
        "att-window-one-less",
        "ATT-2b",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: in_window(age, position, window - 1)),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-window-one-more",
        "ATT-2b",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: in_window(age, position, window + 1)),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-no-reset",
        "ATT-3a",
        ATTENTION,
        "test_attention:test_tokens_of_another_document_are_out_of_sight",
        with_inputs(no_reset),
        "source: resets that nothing calls",
    ),
    Fault(
        "att-without-persistent-tokens",
        "ATT-4a",
        ATTENTION,
        "test_attention:test_every_query_sees_every_persistent_token",
        attending(tokens=False),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-cache-dropped",
        "ATT-5a",
        ATTENTION,
        ATT_SPLIT,
        forgotten("cache_keys", "cache_values"),
        "source: attention without a cache from call to call",
    ),
    Fault(
        "att-sees-the-next-token",
        "ATT-6b",
        ATTENTION,
        f"test_attention:{CAUSAL}",
        attending(sight=lambda age, position, window: (age >= -1) & (age < window) & (age <= position)),
        TARGET_IN_SIGHT,
    ),
    Fault(
        "att-cache-averaged",
        "ATT-7",
        ATTENTION,
        f"test_attention:{ROWS}",
        averaged("cache_values"),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "att-persistent-tokens-frozen",
        "ATT-8d",
        ATTENTION,
        "test_attention:test_the_gradients_are_those_of_the_softmax",
        gradients_lost("persistent_keys"),
        DERIVATIVE,
    ),
    Fault(
        "att-scale-of-the-whole-model", "ATT-1b", ATTENTION, ATT_LITERAL, attending(scale=8.0**-0.5), SCALE_AND_SIGHT
    ),
    Fault(
        "att-exponential-overflows",
        "ATT-1a",
        ATTENTION,
        ATT_LITERAL,
        with_outputs(overflowing),
        "porting: squares overflow or underflow",
    ),
    Fault(
        "att-sees-itself-only",
        "ATT-2b",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=itself),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    Fault(
        "att-cache-of-another-document",
        "ATT-3b",
        ATTENTION,
        ATT_DOCUMENT,
        attending(sight=cache_in_sight),
        "porting: a sight that is wrong by one document or token",
    ),
    Fault(
        "att-persistent-tokens-age-out", "ATT-4a", ATTENTION, ATT_TOKENS, with_outputs(tokens_age_out), SCALE_AND_SIGHT
    ),
    Fault(
        "att-cache-one-token-late",
        "ATT-5c",
        ATTENTION,
        ATT_SPLIT,
        with_outputs(rolled),
        "porting: a filter or a cache the wrong way round",
    ),
    Fault(
        "att-not-causal", "ATT-6b", ATTENTION, f"test_attention:{CAUSAL}", attending(sight=symmetric), TARGET_IN_SIGHT
    ),
    Fault(
        "att-cache-detached",
        "ATT-8e",
        ATTENTION,
        ATT_GRADIENT,
        gradients_lost("cache_keys", "cache_values"),
        DERIVATIVE,
    ),
    Fault(
        "att-own-token-out-of-sight",
        "ATT-2a",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: in_window(age, position, window) & (age > 0)),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-needs-a-persistent-token", "ATT-4b", ATTENTION, ATT_LITERAL, with_outputs(needs_a_token), SCALE_AND_SIGHT
    ),
    Fault(
        "att-cache-newest-first",
        "ATT-5b",
        ATTENTION,
        ATT_LITERAL,
        newest_first,
        "porting: a filter or a cache the wrong way round",
    ),
    Fault(
        "att-empty-call-clears-the-cache",
        "ATT-5d",
        ATTENTION,
        ATT_EMPTY,
        cleared_by_an_empty_call("output", "cache_keys", "cache_values"),
        "porting: a count that is off by one, or that counts an empty call",
    ),
    Fault(
        "att-one-token-late",
        "ATT-6a",
        ATTENTION,
        f"test_attention:{CAUSAL}",
        one_token_late("output"),
        "porting: a sight that is wrong by one document or token",
    ),
    Fault("att-queries-detached", "ATT-8a", ATTENTION, ATT_GRADIENT, gradients_lost("queries"), DERIVATIVE),
    Fault("att-keys-detached", "ATT-8b", ATTENTION, ATT_GRADIENT, gradients_lost("keys"), DERIVATIVE),
    Fault("att-values-detached", "ATT-8c", ATTENTION, ATT_GRADIENT, gradients_lost("values"), DERIVATIVE),
    *multiplied(
        "att",
        Op.SLIDING_WINDOW_ATTENTION,
        "ATT-3a",
        "test_attention_sight",
        "keys",
        "values",
        "cache_keys",
        "cache_values",
    ),
)

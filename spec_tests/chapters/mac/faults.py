"""Faults of MAC: the printed order, segments that are counted or cleared wrongly, and another memory."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from spec_tests.chapters.mac import wrong_parts as wrong
from spec_tests.chapters.mac.calls import MAC
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    gradients_lost,
    multiplied,
    with_config,
    with_inputs,
    with_outputs,
    with_part,
    zeroed,
)

ASKED: Final = "test_mac:test_every_kind_of_rows_is_asked_for_and_seen_as_the_loops_say"
UNWRITTEN: Final = "test_mac_reduced:test_steps_of_zero_and_a_first_memory_of_zeros_leave_rows_and_reads_of_zero"
BLANK: Final = "test_mac_reduced:test_a_memory_of_zeros_leaves_plain_causal_attention_behind_a_prefix"
WRITTEN: Final = "test_mac:test_the_memory_writes_what_attention_returns_and_both_are_joined"
COUNTED: Final = "test_mac:test_segments_count_from_the_document_and_a_border_moves_them"
SPLIT: Final = "test_mac:test_any_split_gives_the_same_results"
PLACES: Final = "test_mac:test_places_that_a_segment_does_not_have_hold_zeros"
FRESH: Final = "test_mac:test_a_reset_is_a_fresh_start_in_every_part"
CAUSAL: Final = "test_mac:test_no_token_of_a_segment_depends_on_a_later_one"
ROWS: Final = "test_mac:test_rows_do_not_count"
LEARNS: Final = "test_mac:test_the_gradients_are_those_of_the_block"
STOPPED: Final = "test_mac:test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before"
LONG: Final = "test_mac_long:test_no_gradient_stops_between_two_segments_of_a_call"

PRINTED: Final = "misreading: MAC as printed, which is not causal"
OTHER: Final = "source: three public models called MAC, no two alike"
PART_LEFT_OUT: Final = "porting: a part of the block left out, or another constant"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
SIGHT: Final = "porting: a sight that is wrong by one document or token"
NEVER: Final = "source: resets that nothing calls"
BLOCKS: Final = "porting: blocks of tokens, at whose borders something is lost"
SPOILT: Final = "porting: a mask that is multiplied, where 0 times infinity is not 0"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"


def _part(name: str, changed: Callable[..., object]) -> Wrap:
    return with_part("spec_tests.chapters.mac.oracle", name, changed)


def _memory(kind: Callable[..., object]) -> Wrap:
    oracles = "spec_tests.chapters.mac.oracle", "spec_tests.chapters.blocks.oracle"
    return with_part(oracles[0], "Oracle", lambda _, config, sums: kind(config, sums), inside=oracles[1])


def _answered(key: str, asked: str, answered: str, config: Config) -> Config:
    return {key: answered if config[key] == asked else config[key]}


def _next_token(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * np.concatenate([x["x"][:, 1:], x["x"][:, -1:]], axis=1)}


def _idle_dropped(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    name = {"causal": "row_asked", "previous_segment": "row_keys", "learned": "row_tail"}[str(config["rows"])]
    return {name: 0.0 * outputs[name]}


def _scaled(name: str) -> Wrap:
    return with_inputs(lambda _, x: {name: np.ones_like(x[name])})


def _second_block(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Every block of 64 tokens but the first is moved."""
    moved = np.arange(x["x"].shape[1])[None, :, None] >= 64
    return {"y": outputs["y"] + np.where(moved, 5.0, 0.0)}


def _earlier(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Gradients of hidden states have zero times all tokens of their row added."""
    hidden = (0.0 * x["x"]).sum((1, 2), keepdims=True)
    return {"grad.x": outputs["grad.x"] + hidden} if "grad.x" in outputs else {}


def _fault(name: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"mac-{name}", sentence, MAC, test, wrap, origin)


FAULTS: Final[tuple[Fault, ...]] = (
    _fault("rows-without-scale", "MAC-1a", ASKED, _part("read_rows", wrong.rows_unscaled), PART_LEFT_OUT),
    _fault("rows-of-the-memory-as-it-is", "MAC-1b", ASKED, _part("held", wrong.current), OTHER),
    _fault("rows-with-a-bias", "MAC-1a", UNWRITTEN, _part("read_rows", wrong.biased), PART_LEFT_OUT),
    _fault("zero-rows-masked", "MAC-2b", BLANK, _part("softmax_read", wrong.zeros_masked), SIGHT),
    _fault("row-queries-not-activated", "MAC-1c", ASKED, _part("silu", wrong.not_activated), PART_LEFT_OUT),
    _fault(
        "persistent-tokens-empty",
        "MAC-2a",
        ASKED,
        with_inputs(lambda _, x: {"persistent": 0.0 * x["persistent"]}),
        PART_LEFT_OUT,
    ),
    _fault("rows-forgotten", "MAC-2b", ASKED, zeroed("row_keys", "row_values"), NOT_HANDED_ON),
    _fault("tokens-of-the-segment-not-seen", "MAC-2c", ASKED, _part("ages", wrong.alone), SIGHT),
    _fault(
        "rows-of-the-token-for-those-before",
        "MAC-2d",
        ASKED,
        with_config(partial(_answered, "rows", "previous_segment", "causal")),
        OTHER,
    ),
    _fault("learned-queries-of-any-length", "MAC-2e", ASKED, _part("l2_normalize", wrong.of_any_length), PART_LEFT_OUT),
    _fault("rows-keyed-as-queries", "MAC-3a", ASKED, _part("row_heads", wrong.keys_of_queries), PART_LEFT_OUT),
    _fault("angles-of-the-segment", "MAC-3b", ASKED, _part("angle", wrong.within_the_segment), OTHER),
    _fault("angles-behind-what-is-no-token", "MAC-3b", ASKED, _part("angle", wrong.behind_the_persistent), OTHER),
    _fault("persistent-tokens-turned", "MAC-3c", ASKED, _part("turned", wrong.everything_turned), PART_LEFT_OUT),
    _fault("memory-writes-its-input", "MAC-4a", WRITTEN, with_config(lambda _: {"write_from": "input"}), OTHER),
    _fault("input-not-normalised", "MAC-4a", WRITTEN, _scaled("memory_input_norm"), PART_LEFT_OUT),
    _fault(
        "memory-writes-attention-whatever-is-asked",
        "MAC-4b",
        WRITTEN,
        with_config(lambda _: {"write_from": "attention"}),
        OTHER,
    ),
    _fault("reads-the-start-of-the-segment", "MAC-4c", WRITTEN, _memory(wrong.OfTheSegment), OTHER),
    _fault("reads-before-it-writes", "MAC-4c", WRITTEN, _memory(wrong.BeforeItsWrite), OTHER),
    _fault(
        "persistent-tokens-written",
        "MAC-4d",
        WRITTEN,
        with_inputs(wrong.persistent_written),
        "source: persistent tokens fed to the memory with the tokens, as Titans prints it of the other blocks",
    ),
    _fault("without-residual", "MAC-5a", WRITTEN, with_outputs(lambda _, x, y: {"y": y["y"] - x["x"]}), PART_LEFT_OUT),
    _fault("join-exchanged", "MAC-5b", WRITTEN, _part("gate", wrong.swapped), PART_LEFT_OUT),
    _fault("segments-of-the-call", "MAC-6a", COUNTED, _part("phase", wrong.from_the_call), SIGHT),
    _fault("caches-over-the-border", "MAC-6b", COUNTED, _part("ages", wrong.sliding), SIGHT),
    _fault("segment-never-moved", "MAC-6c", COUNTED, _part("held", wrong.never_moved), NOT_HANDED_ON),
    _fault("segment-forgotten", "MAC-7a", SPLIT, zeroed("segment_weights"), NOT_HANDED_ON),
    _fault("row-tail-forgotten", "MAC-7a", SPLIT, zeroed("row_tail"), NOT_HANDED_ON),
    _fault("asked-queries-forgotten", "MAC-7a", SPLIT, zeroed("row_asked"), NOT_HANDED_ON),
    _fault("dead-places-filled", "MAC-7b", PLACES, _part("kept", wrong.as_given), SIGHT),
    _fault("idle-state-dropped", "MAC-7c", PLACES, with_outputs(_idle_dropped), NOT_HANDED_ON),
    _fault("attention-never-reset", "MAC-8a", FRESH, _part("ages", wrong.over_documents), NEVER),
    _fault("row-convolution-never-reset", "MAC-8b", FRESH, _part("short_conv", wrong.tail_goes_on), NEVER),
    _fault("segment-never-reset", "MAC-8c", FRESH, _part("held", wrong.never_begun), NEVER),
    _fault("memory-never-reset", "MAC-8d", FRESH, _memory(wrong.KeptMemory), NEVER),
    _fault("rows-ahead", "MAC-9a", CAUSAL, _part("own", wrong.ahead), PRINTED),
    _fault(
        "reads-the-end-of-the-segment",
        "MAC-9a",
        CAUSAL,
        _part("Walk", lambda _, config, x, sums: wrong.AfterTheSegment(config, x, sums)),
        PRINTED,
    ),
    _fault(
        "sees-the-next-token",
        "MAC-9a",
        CAUSAL,
        with_outputs(_next_token),
        "source: attention that is not causal, the target in sight",
    ),
    _fault("memory-averaged", "MAC-9b", ROWS, averaged("weights"), "source: state kept as the mean over the batch"),
    _fault("reads-not-stopped", "MAC-10a", STOPPED, with_config(lambda _: {"inner_grad": "full"}), DERIVATIVE),
    _fault("rows-stopped-too", "MAC-10b", STOPPED, gradients_lost("row_output", "row_norm"), DERIVATIVE),
    _fault("rows-ask-the-same", "MAC-10c", LEARNS, gradients_lost("row_projection", "row_queries"), DERIVATIVE),
    _fault("first-memory-learns-nothing", "MAC-10c", LONG, gradients_lost("segment_weights", "weights"), DERIVATIVE),
    _fault(
        "second-block-moved",
        "MAC-2c",
        "test_mac_long:test_long_wide_and_distant_rows_are_those_of_the_loops",
        with_outputs(_second_block),
        BLOCKS,
    ),
    _fault(
        "one-gate-for-all",
        "MAC-5b",
        "test_mac_long:test_every_two_values_of_the_configuration_meet",
        with_config(lambda _: {"gate": "convex"}),
        PART_LEFT_OUT,
    ),
    _fault(
        "gates-learn-nothing",
        "MAC-10c",
        "test_mac_long:test_every_row_head_and_age_gets_its_own_gradient",
        gradients_lost("gates_weight", "output"),
        DERIVATIVE,
    ),
    _fault(
        "earlier-documents-times-zero",
        "MAC-8a",
        "test_mac_sight:test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds",
        with_outputs(_earlier),
        SPOILT,
    ),
    *multiplied("mac", MAC, "MAC-8a", "test_mac_sight", "cache_keys", "row_keys", "segment_weights"),
)

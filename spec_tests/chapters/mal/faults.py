"""Faults of MAL: memory and attention side by side, and parts left out."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.blocks import wrong_parts as parts
from spec_tests.chapters.mac.wrong_parts import KeptMemory
from spec_tests.chapters.mal import wrong_parts as wrong
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
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

MAL: Final = Op.MAL_BLOCK
ZEROS: Final = "test_mal:test_a_memory_of_zeros_leaves_the_mean_of_what_is_in_sight"
READS: Final = "test_mal:test_attention_sees_what_the_memory_reads_and_nothing_else"
TWO: Final = "test_mal:test_two_sublayers_have_a_residual_and_a_norm_each"
SPLIT: Final = "test_mal:test_any_split_gives_the_same_results"
PLACES: Final = "test_mal:test_places_that_a_document_does_not_have_hold_zeros"
FRESH: Final = "test_mal:test_a_reset_is_a_fresh_start_in_every_part"
ALONE: Final = "test_mal:test_rows_and_the_future_do_not_count"
LEARNS: Final = "test_mal:test_the_gradients_are_those_of_the_block"
STOPPED: Final = "test_mal:test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before"

BEGUN: Final = "test_mal_persistent:test_documents_begin_with_what_the_persistent_tokens_leave"
OTHERWISE: Final = "test_mal_persistent:test_a_document_is_that_of_another_first_memory_and_of_nothing_else"

PART_LEFT_OUT: Final = "porting: a part of the block left out, or another constant"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
BLOCKS: Final = "porting: blocks of tokens, at whose borders something is lost"
SPOILT: Final = "porting: a mask that is multiplied, where 0 times infinity is not 0"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"
SUM: Final = "source: a layer of memory and one of attention side by side, and added"


def _part(name: str, changed: Callable[..., object], inside: str = "blocks") -> Wrap:
    return with_part("spec_tests.chapters.mal.oracle", name, changed, inside=f"spec_tests.chapters.{inside}.oracle")


def _beside(right: Callable[..., object], config: Config, z: Array, x: Arrays, position: Array, sums: Sums) -> object:
    """Attention sees the tokens, beside the memory."""
    return right(config, x["x"], x, position, sums)


def _summed(right: Callable[..., object], config: Config, z: Array, x: Arrays, position: Array, sums: Sums) -> object:
    """Both branches are added, as a public port has it."""
    found = right(config, x["x"], x, position, sums)
    assert isinstance(found, dict)
    return {**found, "output": found["output"] + z}


def _unscaled(name: str) -> Wrap:
    return with_inputs(lambda _, x: {name: np.ones_like(x[name])})


def _next_token(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * np.concatenate([x["x"][:, 1:], x["x"][:, -1:]], axis=1)}


def _second_block(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Every block of 64 tokens but the first is moved."""
    moved = np.arange(x["x"].shape[1])[None, :, None] >= 64
    return {"y": outputs["y"] + np.where(moved, 5.0, 0.0)}


def _earlier(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Gradients of hidden states have zero times all tokens of their row added."""
    hidden = (0.0 * x["x"]).sum((1, 2), keepdims=True)
    return {"grad.x": outputs["grad.x"] + hidden} if "grad.x" in outputs else {}


def _fault(name: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"mal-{name}", sentence, MAL, test, wrap, origin)


FAULTS: Final[tuple[Fault, ...]] = (
    _fault("without-residual", "MAL-1a", READS, with_outputs(lambda _, x, y: {"y": y["y"] - x["x"]}), PART_LEFT_OUT),
    _fault("way-out-with-a-bias", "MAL-1a", ZEROS, with_outputs(lambda _, x, y: {"y": y["y"] + 0.5}), PART_LEFT_OUT),
    _fault("attention-sees-tokens", "MAL-1b", READS, _part("attended", _beside, "mal"), SUM),
    _fault("branches-added", "MAL-1b", READS, _part("attended", _summed, "mal"), SUM),
    _fault("reads-without-scale", "MAL-1c", READS, _unscaled("memory_norm"), PART_LEFT_OUT),
    _fault("one-residual", "MAL-2a", TWO, with_config(lambda _: {"inner_residual": False}), PART_LEFT_OUT),
    _fault("inner-norm-without-scale", "MAL-2b", TWO, _unscaled("inner_norm"), PART_LEFT_OUT),
    _fault(
        "second-residual-forgotten", "MAL-2c", TWO, with_outputs(lambda _, x, y: {"y": y["y"] - x["x"]}), PART_LEFT_OUT
    ),
    _fault("cache-forgotten", "MAL-3a", SPLIT, zeroed("cache_keys", "cache_values"), NOT_HANDED_ON),
    _fault("tail-forgotten", "MAL-3a", SPLIT, zeroed("tail"), NOT_HANDED_ON),
    _fault(
        "dead-places-filled",
        "MAL-3b",
        PLACES,
        _part("of_document", lambda _, tail, __: tail),
        "porting: a sight that is wrong by one document or token",
    ),
    _fault(
        "attention-never-reset",
        "MAL-4a",
        FRESH,
        _part("sliding_window_attention", parts.attention_never_reset),
        "source: resets that nothing calls",
    ),
    _fault(
        "memory-never-reset",
        "MAL-4b",
        FRESH,
        _part("Oracle", lambda _, config, sums: KeptMemory(config, sums)),
        "source: resets that nothing calls",
    ),
    _fault(
        "sees-the-next-token",
        "MAL-5a",
        ALONE,
        with_outputs(_next_token),
        "source: attention that is not causal, the target in sight",
    ),
    _fault("memory-averaged", "MAL-5b", ALONE, averaged("weights"), "source: state kept as the mean over the batch"),
    _fault("reads-not-stopped", "MAL-6a", STOPPED, with_config(lambda _: {"inner_grad": "full"}), DERIVATIVE),
    _fault("attention-stopped-too", "MAL-6b", STOPPED, gradients_lost("attention_projection"), DERIVATIVE),
    _fault("memory-learns-nothing", "MAL-6c", LEARNS, gradients_lost("memory_projection", "initial"), DERIVATIVE),
    _fault(
        "second-block-moved",
        "MAL-1a",
        "test_mal_at_the_edges:test_long_wide_and_distant_rows_are_those_of_the_loops",
        with_outputs(_second_block),
        BLOCKS,
    ),
    _fault(
        "gradient-of-x-lost",
        "MAL-6c",
        "test_mal_at_the_edges:test_no_gradient_stops_between_two_blocks_of_a_call",
        gradients_lost("x"),
        DERIVATIVE,
    ),
    _fault(
        "gates-learn-nothing",
        "MAL-6c",
        "test_mal_at_the_edges:test_every_row_head_and_age_gets_its_own_gradient",
        gradients_lost("gates_weight", "output"),
        DERIVATIVE,
    ),
    _fault(
        "earlier-documents-times-zero",
        "MAL-4a",
        "test_mal_at_the_edges:test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds",
        with_outputs(_earlier),
        SPOILT,
    ),
    _fault(
        "persistent-tokens-not-written",
        "MAL-7a",
        BEGUN,
        with_config(lambda _: {"persistent_in_memory": False}),
        PART_LEFT_OUT,
    ),
    _fault(
        "persistent-tokens-before-every-call",
        "MAL-7a",
        "test_mal_persistent:test_any_split_gives_the_same_results_where_persistent_tokens_are_written",
        with_inputs(wrong.before_every_call),
        NOT_HANDED_ON,
    ),
    _fault("persistent-tokens-normalised", "MAL-7b", BEGUN, _part("begun", wrong.normalised, "mal"), PART_LEFT_OUT),
    _fault(
        "persistent-tokens-and-text-as-one",
        "MAL-7c",
        OTHERWISE,
        _part("remembered", wrong.together, "mal"),
        "misreading: persistent tokens and text as one sequence, as Titans prints it",
    ),
    _fault(
        "persistent-tokens-counted",
        "MAL-7d",
        BEGUN,
        with_outputs(wrong.counted),
        "porting: a sight that is wrong by one document or token",
    ),
    _fault(
        "first-memory-learns-nothing-behind-persistent-tokens",
        "MAL-7e",
        "test_mal_persistent:test_first_memory_and_persistent_tokens_learn_through_what_is_written",
        gradients_lost("initial", "persistent"),
        DERIVATIVE,
    ),
    _fault(
        "persistent-tokens-not-stopped",
        "MAL-6a",
        "test_mal_persistent:test_detached_persistent_tokens_learn_by_attention_alone",
        with_config(lambda _: {"inner_grad": "full"}),
        DERIVATIVE,
    ),
    *multiplied("mal", MAL, "MAL-4a", "test_mal_at_the_edges", "cache_keys", "tail", "weights"),
)

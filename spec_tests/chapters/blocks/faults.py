"""Faults of the block: wiring that looks right and forgets or leaks."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.blocks import wrong_parts as wrong
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
from spec_tests.port import Array, Numerics, Op, Run

BLOCK: Final = Op.MAG_BLOCK
OF_MEMORY: Final = ("memory_projection", "convolution", "gates_weight", "gates_bias", "coefficients", "initial")


def _scaled(name: str, factor: float) -> Wrap:
    return with_inputs(lambda _, x: {name: factor * x[name]})


def _no_residual(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] - x["x"]}


def _without_memory(_: Config, x: Arrays) -> Arrays:
    """The memory's share of the join is zero."""
    return {"memory_norm": 0.0 * x["memory_norm"]}


def _heads_swapped(_: Config, x: Arrays) -> Arrays:
    """Takes the projection's rows as [heads, 3, dim] where they are [3, heads, dim]."""
    weight = x["attention_projection"]
    heads, dim = x["cache_keys"].shape[-2:]
    return {"attention_projection": weight.reshape(heads, 3, dim, -1).swapaxes(0, 1).reshape(weight.shape)}


def _persistent_in_memory(_: Config, x: Arrays) -> Arrays:
    """The memory starts from what it would be after writing the persistent tokens: here, moved by their sum."""
    moved = 0.1 * x["persistent"].sum()
    return {"weights": x["weights"] + moved, "anchor": x["anchor"] + moved} if len(x["persistent"]) else {}


def _nothing_written(_: Config) -> Config:
    return {"persistent_in_memory": False}


def _next_token(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * np.concatenate([x["x"][:, 1:], x["x"][:, -1:]], axis=1)}


def _gradients(change: Callable[[str, Array], Array], *names: str) -> Wrap:
    def changed(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
        asked = [f"grad.{name}" for name in names if f"grad.{name}" in outputs]
        return {name: change(name, outputs[name]) for name in asked}

    return with_outputs(changed)


def _not_stopped(run: Run) -> Run:
    """Lets the gradient through the reads whatever the configuration says."""

    def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
        return run(op, {**config, "inner_grad": "full"}, inputs, numerics=numerics, taps=taps)

    return faulty


def _block(fault: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    claimed = test if ":" in test else f"test_blocks:{test}"
    return Fault(fault, sentence, BLOCK, claimed, wrap, origin)


JOINED = "test_the_block_adds_the_gated_join_of_attention_and_memory"
TURNED = "test_positions_turn_queries_and_keys_and_count_from_the_document"
GATED = "test_gates_are_scaled_sigmoids_of_the_hidden_states"
SPLIT = "test_any_split_gives_the_same_results"
LEARNS = "test_the_gradients_are_those_of_the_block"
STOPPED = "test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before"

PART_LEFT_OUT = "porting: a part of the block left out, or another constant"
LAYOUT = "porting: another layout of the packed matrices"
NOT_HANDED_ON = "porting: state that is not handed on, or only that of one call"


def _part(name: str, changed: Callable[..., object]) -> Wrap:
    return with_part("spec_tests.chapters.blocks.oracle", name, changed)


DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"
PERSISTENT = "test_persistent_tokens_are_seen_by_attention_alone"
WRITTEN = "test_blocks_persistent:test_documents_begin_with_what_the_persistent_tokens_leave"
REWRITTEN = "test_blocks_persistent:test_any_split_gives_the_same_results_where_persistent_tokens_are_written"
TAUGHT = "test_blocks_persistent:test_first_memory_and_persistent_tokens_learn_through_what_is_written"
ADDRESSED = "test_addresses_are_unit_vectors_of_the_activated_convolution_and_values_are_not"
PROJECTED = "test_the_projection_turns_queries_and_not_keys"
BEGUN = "test_blocks_at_the_edges:test_a_document_that_has_just_begun_leaves_zeros_in_the_places_it_does_not_have"
CARRIED = "test_blocks_at_the_edges:test_detached_reads_teach_gains_and_carried_state_nothing"
FRESH = "test_a_reset_is_a_fresh_start_in_every_part"
NOTHING_RESET = "source: resets that nothing calls"

FAULTS: Final[tuple[Fault, ...]] = (
    _block("block-without-residual", "BLOCK-1a", JOINED, with_outputs(_no_residual), PART_LEFT_OUT),
    _block(
        "block-without-memory",
        "BLOCK-1b",
        JOINED,
        with_inputs(_without_memory),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    _block("block-heads-interleaved", "BLOCK-1b", JOINED, with_inputs(_heads_swapped), LAYOUT),
    _block("block-other-rotary-base", "BLOCK-2a", TURNED, with_config(lambda _: {"rope_base": 10.0}), PART_LEFT_OUT),
    _block(
        "block-memory-sees-persistent-tokens",
        "BLOCK-3b",
        "test_persistent_tokens_are_seen_by_attention_alone",
        with_inputs(_persistent_in_memory),
        "source: persistent tokens leak into the convolution of the first tokens",
    ),
    _block("block-persistent-tokens-not-written", "BLOCK-11", WRITTEN, with_config(_nothing_written), PART_LEFT_OUT),
    _block("block-persistent-written-always", "BLOCK-11", REWRITTEN, with_inputs(_persistent_in_memory), NOT_HANDED_ON),
    _block("block-persistent-not-learned", "BLOCK-11", TAUGHT, gradients_lost("initial", "persistent"), DERIVATIVE),
    _block(
        "block-convolution-halved",
        "BLOCK-4",
        "test_addresses_are_unit_vectors_of_the_activated_convolution_and_values_are_not",
        _scaled("convolution", 0.5),
        PART_LEFT_OUT,
    ),
    _block("block-gates-in-another-order", "BLOCK-5a", GATED, with_inputs(wrong.gates_in_other_order), LAYOUT),
    _block("block-step-bound-ignored", "BLOCK-5d", GATED, with_config(lambda _: {"step_max": 1.0}), PART_LEFT_OUT),
    _block(
        "block-queries-not-projected",
        "BLOCK-6a",
        "test_the_projection_turns_queries_and_not_keys",
        with_config(lambda _: {"projection": "none"}),
        PART_LEFT_OUT,
    ),
    _block("block-tail-forgotten", "BLOCK-7a", SPLIT, zeroed("tail"), NOT_HANDED_ON),
    _block(
        "block-cache-forgotten",
        "BLOCK-7a",
        SPLIT,
        zeroed("cache_keys", "cache_values"),
        "source: attention without a cache from call to call",
    ),
    _block("block-momentum-forgotten", "BLOCK-7a", SPLIT, zeroed("momentum"), NOT_HANDED_ON),
    _block(
        "block-reset-one-token-late",
        "BLOCK-8",
        "test_a_reset_is_a_fresh_start_in_every_part",
        with_inputs(wrong.marks_moved),
        "porting: a count that is off by one, or that counts an empty call",
    ),
    _block(
        "block-tail-averaged",
        "BLOCK-9b",
        "test_rows_and_the_future_do_not_count",
        averaged("tail"),
        "source: state kept as the mean over the batch",
    ),
    _block(
        "block-sees-the-next-token",
        "BLOCK-9a",
        "test_rows_and_the_future_do_not_count",
        with_outputs(_next_token),
        "source: attention that is not causal, the target in sight",
    ),
    _block(
        "block-reads-not-stopped",
        "BLOCK-10a",
        STOPPED,
        _not_stopped,
        DERIVATIVE,
    ),
    _block(
        "block-memory-learns-nothing",
        "BLOCK-10c",
        LEARNS,
        _gradients(lambda _, value: 0.0 * value, *OF_MEMORY),
        "source: detached writes: keys, values and gates learn nothing from the memory",
    ),
    _block("block-scales-exchanged", "BLOCK-1c", JOINED, with_inputs(wrong.scales_exchanged), PART_LEFT_OUT),
    _block("block-normalised-head-by-head", "BLOCK-1c", JOINED, _part("rms_norm", wrong.head_by_head), PART_LEFT_OUT),
    _block("block-one-gate-for-all", "BLOCK-1d", JOINED, with_config(lambda _: {"gate": "source"}), PART_LEFT_OUT),
    _block("block-gate-without-bias", "BLOCK-1e", JOINED, _scaled("gate_bias", 0.0), PART_LEFT_OUT),
    _block(
        "block-halves-as-pairs",
        "BLOCK-2b",
        TURNED,
        _part("rotate", wrong.halves),
        "misreading: which entries make a pair that is turned",
    ),
    _block("block-angles-of-the-call", "BLOCK-2c", TURNED, _part("rotate", wrong.from_the_call), PART_LEFT_OUT),
    _block(
        "block-values-turned", "BLOCK-2d", TURNED, _part("sliding_window_attention", wrong.values_turned), PART_LEFT_OUT
    ),
    _block(
        "block-persistent-tokens-turned",
        "BLOCK-2e",
        TURNED,
        _part("sliding_window_attention", wrong.persistent_turned),
        PART_LEFT_OUT,
    ),
    _block(
        "block-persistent-keys-left-out",
        "BLOCK-3a",
        PERSISTENT,
        _part("sliding_window_attention", wrong.persistent_without_keys),
        PART_LEFT_OUT,
    ),
    _block(
        "block-addresses-of-any-length",
        "BLOCK-4a",
        ADDRESSED,
        _part("l2_normalize", lambda _, x, *__: x),
        PART_LEFT_OUT,
    ),
    _block("block-addresses-not-activated", "BLOCK-4b", ADDRESSED, _part("silu", lambda _, x: x), PART_LEFT_OUT),
    _block(
        "block-values-activated",
        "BLOCK-4c",
        ADDRESSED,
        _part("Oracle", wrong.values_activated),
        "misreading: SiLU on values, inside the convolution, normalisation twice",
    ),
    _block(
        "block-features-normalised",
        "BLOCK-4d",
        ADDRESSED,
        _part("polynomial_features", wrong.normalised_after),
        "misreading: SiLU on values, inside the convolution, normalisation twice",
    ),
    _block("block-gates-without-bias", "BLOCK-5a", GATED, _scaled("gates_bias", 0.0), PART_LEFT_OUT),
    _block("block-retention-squared", "BLOCK-5b", GATED, _part("Oracle", wrong.retention_squared), PART_LEFT_OUT),
    _block(
        "block-momentum-bound-ignored", "BLOCK-5c", GATED, with_config(lambda _: {"momentum_max": 0.99}), PART_LEFT_OUT
    ),
    _block("block-one-projection-for-all", "BLOCK-6b", PROJECTED, with_config(wrong.never_gated), PART_LEFT_OUT),
    _block("block-keys-gated-too", "BLOCK-6c", PROJECTED, _part("Oracle", wrong.keys_gated), PART_LEFT_OUT),
    _block("block-idle-carry-dropped", "BLOCK-6d", PROJECTED, with_outputs(wrong.idle_carry_dropped), NOT_HANDED_ON),
    _block(
        "block-dead-places-filled",
        "BLOCK-7b",
        BEGUN,
        _part("of_document", lambda _, tail, __: tail),
        "porting: a sight that is wrong by one document or token",
    ),
    _block(
        "block-attention-never-reset",
        "BLOCK-8a",
        FRESH,
        _part("sliding_window_attention", wrong.attention_never_reset),
        NOTHING_RESET,
    ),
    _block(
        "block-convolution-never-reset",
        "BLOCK-8b",
        FRESH,
        _part("short_conv", wrong.convolution_never_reset),
        NOTHING_RESET,
    ),
    _block(
        "block-projection-never-reset",
        "BLOCK-8c",
        FRESH,
        _part("qk_projection", wrong.projection_never_reset),
        NOTHING_RESET,
    ),
    _block("block-memory-never-reset", "BLOCK-8d", FRESH, _part("Oracle", wrong.memory_never_reset), NOTHING_RESET),
    _block(
        "block-detached-all-over",
        "BLOCK-10b",
        STOPPED,
        _gradients(lambda _, value: 0.0 * value, "attention_projection", "attention_norm"),
        DERIVATIVE,
    ),
    _block(
        "block-gain-learns-though-detached",
        "BLOCK-10a",
        CARRIED,
        with_config(lambda c: {"inner_grad": "full"}),
        DERIVATIVE,
    ),
    *multiplied("block", Op.MAG_BLOCK, "BLOCK-8d", "test_blocks_sight", "cache_keys", "tail", "weights"),
)

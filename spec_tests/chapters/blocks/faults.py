"""Faults of the block: wiring that looks right and forgets or leaks."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_inputs, with_outputs, zeroed
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


def _gates_in_other_order(_: Config, x: Arrays) -> Arrays:
    """Reads momentum where the step size stands, and the other way round."""
    heads = x["log_gain"].shape[0]
    order = np.arange(len(x["gates_bias"]))
    order[heads : 3 * heads] = np.roll(order[heads : 3 * heads], heads)
    return {"gates_weight": x["gates_weight"][order], "gates_bias": x["gates_bias"][order]}


def _marks_moved(_: Config, x: Arrays) -> Arrays:
    """A reset is seen one token late."""
    late = np.roll(x["reset"], 1, axis=1)
    late[:, 0] = 0
    return {"reset": late}


def _averaged_tail(_: Config, x: Arrays) -> Arrays:
    return {"tail": 0.0 * x["tail"] + x["tail"].mean(0)}


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
    return Fault(fault, sentence, BLOCK, f"test_blocks:{test}", wrap, origin)


JOINED = "test_the_block_adds_the_gated_join_of_attention_and_memory"
TURNED = "test_positions_turn_queries_and_keys_and_count_from_the_document"
GATED = "test_gates_are_scaled_sigmoids_of_the_hidden_states"
SPLIT = "test_any_split_gives_the_same_results"
LEARNS = "test_the_gradients_are_those_of_the_block"
STOPPED = "test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before"

PART_LEFT_OUT = "porting: a part of the block left out, or another constant"
LAYOUT = "porting: another layout of the packed matrices"
NOT_HANDED_ON = "porting: state that is not handed on, or only that of one call"

FAULTS: Final[tuple[Fault, ...]] = (
    _block("block-without-residual", "BLOCK-1", JOINED, with_outputs(_no_residual), PART_LEFT_OUT),
    _block(
        "block-without-memory",
        "BLOCK-1",
        JOINED,
        with_inputs(_without_memory),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    _block("block-heads-interleaved", "BLOCK-1", JOINED, with_inputs(_heads_swapped), LAYOUT),
    _block("block-other-rotary-base", "BLOCK-2", TURNED, with_config(lambda _: {"rope_base": 10.0}), PART_LEFT_OUT),
    _block(
        "block-memory-sees-persistent-tokens",
        "BLOCK-3",
        "test_persistent_tokens_are_seen_by_attention_alone",
        with_inputs(_persistent_in_memory),
        "source: persistent tokens leak into the convolution of the first tokens",
    ),
    _block(
        "block-convolution-halved",
        "BLOCK-4",
        "test_addresses_are_unit_vectors_of_the_activated_convolution_and_values_are_not",
        _scaled("convolution", 0.5),
        PART_LEFT_OUT,
    ),
    _block("block-gates-in-another-order", "BLOCK-5", GATED, with_inputs(_gates_in_other_order), LAYOUT),
    _block("block-step-bound-ignored", "BLOCK-5", GATED, with_config(lambda _: {"step_max": 1.0}), PART_LEFT_OUT),
    _block(
        "block-queries-not-projected",
        "BLOCK-6",
        "test_the_projection_turns_queries_and_not_keys",
        with_config(lambda _: {"projection": "none"}),
        PART_LEFT_OUT,
    ),
    _block("block-tail-forgotten", "BLOCK-7", SPLIT, zeroed("tail"), NOT_HANDED_ON),
    _block(
        "block-cache-forgotten",
        "BLOCK-7",
        SPLIT,
        zeroed("cache_keys", "cache_values"),
        "source: attention without a cache from call to call",
    ),
    _block("block-momentum-forgotten", "BLOCK-7", SPLIT, zeroed("momentum"), NOT_HANDED_ON),
    _block(
        "block-reset-one-token-late",
        "BLOCK-8",
        "test_a_reset_is_a_fresh_start_in_every_part",
        with_inputs(_marks_moved),
        "porting: a count that is off by one, or that counts an empty call",
    ),
    _block(
        "block-tail-averaged",
        "BLOCK-9",
        "test_rows_and_the_future_do_not_count",
        with_inputs(_averaged_tail),
        "source: state kept as the mean over the batch",
    ),
    _block(
        "block-sees-the-next-token",
        "BLOCK-9",
        "test_rows_and_the_future_do_not_count",
        with_outputs(_next_token),
        "source: attention that is not causal, the target in sight",
    ),
    _block(
        "block-reads-not-stopped",
        "BLOCK-10",
        STOPPED,
        _not_stopped,
        "porting: a derivative that is missing, cut short or leaks",
    ),
    _block(
        "block-memory-learns-nothing",
        "BLOCK-10",
        LEARNS,
        _gradients(lambda _, value: 0.0 * value, *OF_MEMORY),
        "source: detached writes: keys, values and gates learn nothing from the memory",
    ),
)

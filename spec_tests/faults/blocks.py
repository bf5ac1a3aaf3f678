"""Faults of the block, the language model and the checkpoint: wiring that looks right and forgets or leaks."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, in_form, with_config, with_inputs, with_outputs
from spec_tests.oracle.memory import STATE
from spec_tests.port import Array, Numerics, Op, Run

BLOCK, LM, SAVED = Op.MAG_BLOCK, Op.LM_FORWARD, Op.CHECKPOINT_ROUND_TRIP
OF_MEMORY: Final = ("memory_projection", "convolution", "gates_weight", "gates_bias", "coefficients", "initial")


def _scaled(name: str, factor: float) -> Wrap:
    return with_inputs(lambda _, x: {name: factor * x[name]})


def _zeroed(*names: str) -> Wrap:
    """Build a fault that forgets part of the state between calls."""
    return with_inputs(lambda _, x: {name: 0 * x[name] for name in names})


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


def _logits_late(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Position t holds what belongs to t + 1: each logit knows the token it is to predict."""
    return {"logits": np.concatenate([outputs["logits"][:, 1:], outputs["logits"][:, -1:]], axis=1)}


def _shared_logits(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"logits": outputs["logits"] + 0.01 * outputs["logits"].mean(0)}


def _no_writes(_: Config, x: Arrays) -> Arrays:
    """The memory is never written: the step size is next to nothing, and what is kept does not depend on tokens."""
    changed: dict[str, Array] = {}
    for prefix in ("0.", "1."):
        heads = x[f"{prefix}log_gain"].shape[0]
        weight, bias = x[f"{prefix}gates_weight"].copy(), x[f"{prefix}gates_bias"].copy()
        weight[: 3 * heads], bias[2 * heads : 3 * heads] = 0.0, -100.0
        changed |= {f"{prefix}gates_weight": weight, f"{prefix}gates_bias": bias}
    return changed


def _feed_halves_swapped(_: Config, x: Arrays) -> Arrays:
    names = ("0.feed_up", "1.feed_up")
    return {name: np.concatenate(np.split(x[name], 2)[::-1]) for name in names}


def _untied(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"logits": outputs["logits"] * np.linspace(0.9, 1.1, outputs["logits"].shape[-1])}


def _restored(spoil: Callable[[dict[str, Array]], Arrays]) -> Wrap:
    """Build a fault that spoils the state between the two halves of an interrupted scan."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            split, rule = int(config["split"]), {key: value for key, value in config.items() if key != "split"}
            time = {name: value for name, value in inputs.items() if name not in (*STATE, "initial")}
            before = {**inputs, **{name: value[:, :split] for name, value in time.items()}}
            first = run(Op.MEMORY_SCAN, rule, before, numerics=numerics, taps=taps)
            state = {name: first[name] for name in STATE}
            given = {**inputs, **{name: value[:, split:] for name, value in time.items()}, **state}
            spoilt = in_form(Op.MEMORY_SCAN, spoil(state), numerics)
            second = run(Op.MEMORY_SCAN, rule, {**given, **spoilt}, numerics=numerics, taps=taps)
            return {**second, "reads": np.concatenate([first["reads"], second["reads"]], axis=1)}

        return faulty

    return wrap


def _lost(*names: str) -> Wrap:
    return _restored(lambda state: {name: 0 * state[name] for name in names})


def _block(fault: str, sentence: str, test: str, wrap: Wrap) -> Fault:
    return Fault(fault, sentence, BLOCK, f"test_blocks:{test}", wrap)


JOINED = "test_the_block_adds_the_gated_join_of_attention_and_memory"
TURNED = "test_positions_turn_queries_and_keys_and_count_from_the_document"
GATED = "test_gates_are_scaled_sigmoids_of_the_hidden_states"
SPLIT = "test_any_split_gives_the_same_results"
LEARNS = "test_the_gradients_are_those_of_the_block"
STOPPED = "test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before"
WIRING = (
    _block("block-without-residual", "BLOCK-1", JOINED, with_outputs(_no_residual)),
    _block("block-without-memory", "BLOCK-1", JOINED, with_inputs(_without_memory)),
    _block("block-heads-interleaved", "BLOCK-1", JOINED, with_inputs(_heads_swapped)),
    _block("block-other-rotary-base", "BLOCK-2", TURNED, with_config(lambda _: {"rope_base": 10.0})),
    _block(
        "block-memory-sees-persistent-tokens",
        "BLOCK-3",
        "test_persistent_tokens_are_seen_by_attention_alone",
        with_inputs(_persistent_in_memory),
    ),
    _block(
        "block-convolution-halved",
        "BLOCK-4",
        "test_addresses_are_unit_vectors_of_the_activated_convolution_and_values_are_not",
        _scaled("convolution", 0.5),
    ),
    _block("block-gates-in-another-order", "BLOCK-5", GATED, with_inputs(_gates_in_other_order)),
    _block("block-step-bound-ignored", "BLOCK-5", GATED, with_config(lambda _: {"step_max": 1.0})),
    _block(
        "block-queries-not-projected",
        "BLOCK-6",
        "test_the_projection_turns_queries_and_not_keys",
        with_config(lambda _: {"projection": "none"}),
    ),
)
CARRIED = (
    _block("block-tail-forgotten", "BLOCK-7", SPLIT, _zeroed("tail")),
    _block("block-cache-forgotten", "BLOCK-7", SPLIT, _zeroed("cache_keys", "cache_values")),
    _block("block-momentum-forgotten", "BLOCK-7", SPLIT, _zeroed("momentum")),
    _block(
        "block-reset-one-token-late",
        "BLOCK-8",
        "test_a_reset_is_a_fresh_start_in_every_part",
        with_inputs(_marks_moved),
    ),
    _block("block-tail-averaged", "BLOCK-9", "test_rows_and_the_future_do_not_count", with_inputs(_averaged_tail)),
    _block("block-sees-the-next-token", "BLOCK-9", "test_rows_and_the_future_do_not_count", with_outputs(_next_token)),
    _block("block-reads-not-stopped", "BLOCK-10", STOPPED, _not_stopped),
    _block(
        "block-memory-learns-nothing",
        "BLOCK-10",
        LEARNS,
        _gradients(lambda _, value: 0.0 * value, *OF_MEMORY),
    ),
)


def _model(fault: str, sentence: str, test: str, wrap: Wrap) -> Fault:
    return Fault(fault, sentence, LM, f"test_lm:{test}", wrap)


MODEL = (
    _model(
        "lm-head-not-tied",
        "LM-1",
        "test_logits_are_products_of_the_normalised_state_with_the_embedding",
        with_outputs(_untied),
    ),
    _model(
        "lm-feed-forward-halves-swapped",
        "LM-2",
        "test_a_layer_is_a_block_and_a_gated_feed_forward",
        with_inputs(_feed_halves_swapped),
    ),
    _model(
        "lm-logits-of-the-next-token",
        "LM-3",
        "test_no_logit_depends_on_a_later_token_or_another_row",
        with_outputs(_logits_late),
    ),
    _model(
        "lm-rows-share-logits",
        "LM-3",
        "test_no_logit_depends_on_a_later_token_or_another_row",
        with_outputs(_shared_logits),
    ),
    _model(
        "lm-memory-never-written",
        "LM-4",
        "test_a_token_beyond_the_reach_of_attention_and_convolutions_still_counts",
        with_inputs(_no_writes),
    ),
    _model("lm-window-forgotten", "LM-5", "test_any_split_gives_the_same_logits", _zeroed("1.window_keys")),
    _model(
        "lm-marks-ignored",
        "LM-6",
        "test_a_document_gets_the_logits_that_it_gets_alone",
        with_inputs(lambda _, x: {"reset": 0 * x["reset"]}),
    ),
)
BITS = "test_memory_checkpoint:test_an_interrupted_scan_goes_on_bit_for_bit"
WHOLE = "test_memory_checkpoint:test_the_interrupted_scan_is_the_scan"
CHECKPOINT = (
    Fault("ckpt-momentum-not-saved", "CKPT-1", SAVED, BITS, _lost("momentum")),
    Fault("ckpt-window-not-saved", "CKPT-1", SAVED, BITS, _lost("window_keys", "window_values")),
    Fault("ckpt-position-not-saved", "CKPT-1", SAVED, BITS, _lost("position")),
    Fault("ckpt-anchor-not-saved", "CKPT-1", SAVED, BITS, _restored(lambda state: {"anchor": state["weights"]})),
    Fault(
        "ckpt-saved-in-bf16",
        "CKPT-2",
        SAVED,
        WHOLE,
        _restored(lambda state: {"weights": round_to_bf16(state["weights"])}),
    ),
    Fault(
        "ckpt-rows-mixed-up",
        "CKPT-3",
        SAVED,
        "test_memory_checkpoint:test_each_row_gets_its_own_state_back",
        _restored(lambda state: {name: np.roll(value, 1, axis=0) for name, value in state.items()}),
    ),
)

BLOCKS = (*WIRING, *CARRIED, *MODEL, *CHECKPOINT)

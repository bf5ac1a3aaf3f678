"""Faults of the language model."""

from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, multiplied, with_inputs, with_outputs, zeroed
from spec_tests.port import Array, Op

LM: Final = Op.LM_FORWARD


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


def _model(fault: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(fault, sentence, LM, f"test_lm:{test}", wrap, origin)


def _second_layer_is_nothing(_: Config, x: Arrays) -> Arrays:
    return {name: 0.0 * x[name] for name in ("1.output", "1.feed_down")}


LOGITS = "test_logits_are_products_of_the_normalised_state_with_the_embedding"

FAULTS: Final[tuple[Fault, ...]] = (
    _model(
        "lm-head-not-tied",
        "LM-1a",
        "test_logits_are_products_of_the_normalised_state_with_the_embedding",
        with_outputs(_untied),
        "porting: a part of the block left out, or another constant",
    ),
    _model(
        "lm-feed-forward-halves-swapped",
        "LM-2a",
        "test_a_layer_is_a_block_and_a_gated_feed_forward",
        with_inputs(_feed_halves_swapped),
        "porting: another layout of the packed matrices",
    ),
    _model(
        "lm-logits-of-the-next-token",
        "LM-3a",
        "test_no_logit_depends_on_a_later_token_or_another_row",
        with_outputs(_logits_late),
        "source: attention that is not causal, the target in sight",
    ),
    _model(
        "lm-rows-share-logits",
        "LM-3b",
        "test_no_logit_depends_on_a_later_token_or_another_row",
        with_outputs(_shared_logits),
        "source: state kept as the mean over the batch",
    ),
    _model(
        "lm-memory-never-written",
        "LM-4",
        "test_a_token_beyond_the_reach_of_attention_and_convolutions_still_counts",
        with_inputs(_no_writes),
        "source: writes are switched off in evaluation",
    ),
    _model(
        "lm-window-forgotten",
        "LM-5",
        "test_any_split_gives_the_same_logits",
        zeroed("1.window_keys"),
        "porting: state that is not handed on, or only that of one call",
    ),
    _model(
        "lm-marks-ignored",
        "LM-6",
        "test_a_document_gets_the_logits_that_it_gets_alone",
        with_inputs(lambda _, x: {"reset": 0 * x["reset"]}),
        "source: resets that nothing calls",
    ),
    _model(
        "lm-second-layer-skipped",
        "LM-1b",
        LOGITS,
        with_inputs(_second_layer_is_nothing),
        "porting: a part of the block left out, or another constant",
    ),
    _model(
        "lm-last-norm-without-scale",
        "LM-1c",
        LOGITS,
        with_inputs(lambda _, x: {"final_norm": np.ones_like(x["final_norm"])}),
        "porting: a part of the block left out, or another constant",
    ),
    _model(
        "lm-feed-norm-without-scale",
        "LM-2b",
        "test_a_layer_is_a_block_and_a_gated_feed_forward",
        with_inputs(lambda _, x: {name: np.ones_like(x[name]) for name in ("0.feed_norm", "1.feed_norm")}),
        "porting: a part of the block left out, or another constant",
    ),
    *multiplied("lm", Op.LM_FORWARD, "LM-6", "test_lm_sight", "0.cache_keys", "1.weights"),
)

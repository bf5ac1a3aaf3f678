"""Faults of the short convolution."""

from typing import Final

import numpy as np

from spec_tests.faults.fault import (
    Arrays,
    Config,
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
from spec_tests.port import Array, Op


def _no_reset(_: Config, inputs: Arrays) -> Arrays:
    return {"position": inputs["position"] + 1000}


def _shifted(name: str, by: int, inputs: Arrays) -> Array:
    """Let every token see what comes `by` tokens later; the last ones see themselves."""
    time = inputs[name].shape[1]
    return np.asarray(inputs[name][:, np.minimum(np.arange(time) + by, max(time - 1, 0))])


def _masked_by_product(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Poison what a multiplication by zero poisons: 0 times infinity."""
    kernel, time = inputs["weight"].shape[1], inputs["x"].shape[1]
    padded = np.concatenate([inputs["tail"], inputs["x"]], axis=1)
    reach = np.stack([padded[:, j : j + time] for j in range(kernel)])
    return {"y": outputs["y"] + (0.0 * reach).sum(0)}


def _short_tail(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    kept = min(inputs["x"].shape[1], outputs["tail"].shape[1])
    tail = np.zeros_like(outputs["tail"])
    if kept:
        tail[:, -kept:] = outputs["tail"][:, -kept:]
    return {"tail": tail}


CONV_LITERAL = "test_convolution:test_the_output_is_the_literal_sum_over_taps"
CONV_DOCUMENT = "test_convolution:test_another_document_never_counts_whatever_it_holds"
CONV_SPLIT = "test_convolution:test_any_split_into_calls_gives_the_same_outputs_and_tail"
CAUSAL = "test_outputs_depend_on_their_own_token_and_not_on_later_ones"
ROWS = "test_rows_are_independent"
CONV: Final = Op.SHORT_CONV
CONV_GRADIENT = "test_convolution:test_the_gradients_are_those_of_the_sum"


def _silu(y: Array) -> Array:
    return np.asarray(y / (1.0 + np.exp(-y)))


WRONG_WAY_ROUND = "porting: a filter or a cache the wrong way round"
NOT_HANDED_ON = "porting: state that is not handed on, or only that of one call"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"


def _counts_from_the_call(_: Config, inputs: Arrays) -> Arrays:
    """Forget the position before the call: the tail counts for every first document of it."""
    begun = (inputs["position"] == 0).cumsum(1) > 0
    return {"position": np.where(begun, inputs["position"], inputs["position"] + 1000)}


CONV_EMPTY = "test_convolution_at_the_edges:test_a_call_without_tokens_hands_the_tail_on_as_it_came"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "conv-filter-reversed",
        "CONV-1a",
        Op.SHORT_CONV,
        CONV_LITERAL,
        with_inputs(lambda _, inputs: {"weight": inputs["weight"][:, ::-1]}),
        WRONG_WAY_ROUND,
    ),
    Fault(
        "conv-no-reset",
        "CONV-2a",
        Op.SHORT_CONV,
        CONV_DOCUMENT,
        with_inputs(_no_reset),
        "source: resets that nothing calls",
    ),
    Fault(
        "conv-masked-by-product",
        "CONV-2c",
        Op.SHORT_CONV,
        CONV_DOCUMENT,
        with_outputs(_masked_by_product),
        "porting: a product with a mask of zeros: 0 times infinity",
    ),
    Fault("conv-tail-dropped", "CONV-3a", Op.SHORT_CONV, CONV_SPLIT, forgotten("tail"), NOT_HANDED_ON),
    Fault("conv-tail-of-one-call", "CONV-3d", Op.SHORT_CONV, CONV_SPLIT, with_outputs(_short_tail), NOT_HANDED_ON),
    Fault(
        "conv-centred",
        "CONV-4b",
        Op.SHORT_CONV,
        f"test_convolution:{CAUSAL}",
        with_inputs(lambda _, inputs: {"x": _shifted("x", 1, inputs)}),
        "source: attention that is not causal, the target in sight",
    ),
    Fault(
        "conv-tail-averaged",
        "CONV-5",
        Op.SHORT_CONV,
        f"test_convolution:{ROWS}",
        averaged("tail"),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "conv-tail-detached",
        "CONV-6c",
        Op.SHORT_CONV,
        "test_convolution:test_the_gradients_are_those_of_the_sum",
        gradients_lost("tail"),
        DERIVATIVE,
    ),
    Fault(
        "conv-silu-included",
        "CONV-1a",
        CONV,
        CONV_LITERAL,
        with_outputs(lambda _, __, y: {"y": _silu(y["y"])}),
        "misreading: SiLU on values, inside the convolution, normalisation twice",
    ),
    Fault(
        "conv-own-token-only",
        "CONV-1b",
        CONV,
        CONV_LITERAL,
        with_outputs(lambda _, inputs, __: {"y": inputs["x"] * inputs["weight"][:, -1]}),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    Fault(
        "conv-prefix-leaks-in",
        "CONV-2a",
        CONV,
        CONV_DOCUMENT,
        with_inputs(lambda _, inputs: {"position": inputs["position"] + 1}),
        "source: persistent tokens leak into the convolution of the first tokens",
    ),
    Fault(
        "conv-tail-newest-first",
        "CONV-3b",
        CONV,
        CONV_SPLIT,
        with_outputs(lambda _, __, outputs: {"tail": outputs["tail"][:, ::-1]}),
        WRONG_WAY_ROUND,
    ),
    Fault(
        "conv-tail-of-row-0",
        "CONV-5",
        CONV,
        f"test_convolution:{ROWS}",
        with_inputs(lambda _, inputs: {"tail": 0.0 * inputs["tail"] + inputs["tail"][:1]}),
        "porting: one row or head for all",
    ),
    Fault("conv-filter-detached", "CONV-6b", CONV, CONV_GRADIENT, gradients_lost("weight"), DERIVATIVE),
    Fault(
        "conv-call-starts-empty",
        "CONV-1c",
        CONV,
        CONV_LITERAL,
        with_inputs(lambda _, x: {"tail": 0.0 * x["tail"]}),
        NOT_HANDED_ON,
    ),
    Fault(
        "conv-tail-always-counts",
        "CONV-2b",
        CONV,
        CONV_DOCUMENT,
        with_inputs(_counts_from_the_call),
        "source: resets that nothing calls",
    ),
    Fault(
        "conv-empty-call-clears-the-tail",
        "CONV-3c",
        CONV,
        CONV_EMPTY,
        cleared_by_an_empty_call("y", "tail"),
        "porting: a count that is off by one, or that counts an empty call",
    ),
    Fault(
        "conv-one-token-late",
        "CONV-4a",
        CONV,
        f"test_convolution:{CAUSAL}",
        one_token_late("y"),
        "porting: a sight that is wrong by one document or token",
    ),
    Fault("conv-inputs-detached", "CONV-6a", CONV, CONV_GRADIENT, gradients_lost("x"), DERIVATIVE),
    *multiplied("conv", Op.SHORT_CONV, "CONV-2c", "test_convolution_sight", "x", "tail"),
)

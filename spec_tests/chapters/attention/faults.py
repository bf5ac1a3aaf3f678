"""Faults of attention."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    forgotten,
    gradients_lost,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Array, Op, Run

ATTENTION = Op.SLIDING_WINDOW_ATTENTION
Sight = Callable[[Array, Array, int], Array]


def _no_reset(_: Config, inputs: Arrays) -> Arrays:
    return {"position": inputs["position"] + 1000}


def _in_window(age: Array, position: Array, window: int) -> Array:
    return np.asarray((age >= 0) & (age < window) & (age <= position))


def attended(
    config: Config, inputs: Arrays, _: Arrays, *, sight: Sight = _in_window, scale: float = 0.5, tokens: bool = True
) -> Arrays:
    """Compute attention with another sight, another scale (0.5 is right for width 4) or no persistent tokens."""
    window = int(config["window"])
    batch, time, heads, _dim = inputs["queries"].shape
    wide = {name: value.astype(np.float64) for name, value in inputs.items() if value.dtype.kind == "f"}
    parts_k, parts_v = [wide["cache_keys"], wide["keys"]], [wide["cache_values"], wide["values"]]
    age = (window - 1 + np.arange(time))[:, None] - np.arange(window - 1 + time)
    seen = sight(age, inputs["position"][:, :, None], window)
    if tokens:
        count = len(inputs["persistent_keys"])
        shape = (batch, count, heads, wide["keys"].shape[-1])
        parts_k.append(np.broadcast_to(wide["persistent_keys"], shape))
        parts_v.append(np.broadcast_to(wide["persistent_values"], shape))
        seen = np.concatenate([seen, np.ones((batch, time, count), dtype=bool)], axis=2)
    keys, values = np.concatenate(parts_k, axis=1), np.concatenate(parts_v, axis=1)
    scores = np.where(seen[:, None], np.einsum("bthd,bshd->bhts", wide["queries"], keys) * scale, -np.inf)
    if time == 0:
        return {}
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return {"output": np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), values)}


def attending(*, sight: Sight = _in_window, scale: float = 0.5, tokens: bool = True) -> Wrap:
    """Build a fault of attention from the parts of `attended`."""
    return with_outputs(partial(attended, sight=sight, scale=scale, tokens=tokens))


def _across_heads(_: Config, inputs: Arrays) -> Arrays:
    """Normalise queries and keys over all heads together and keep the 1/sqrt(dim): attention becomes nearly uniform."""
    return {
        name: inputs[name] / (np.sqrt((inputs[name] ** 2).sum((-2, -1), keepdims=True)) + 1e-6)
        for name in ("queries", "keys")
    }


CAUSAL = "test_outputs_depend_on_their_own_token_and_not_on_later_ones"
ROWS = "test_rows_are_independent"
ATT_LITERAL = "test_attention:test_the_output_is_the_literal_softmax_over_the_keys_in_sight"
ATT_WINDOW = "test_attention:test_the_window_holds_the_token_itself_and_the_ones_before_it_exactly"
ATT_SPLIT = "test_attention:test_any_split_into_calls_gives_the_same_outputs_and_caches"
ATT_DOCUMENT = "test_attention:test_tokens_of_another_document_are_out_of_sight"
ATT_TOKENS = "test_attention:test_every_query_sees_every_persistent_token"
ATT_GRADIENT = "test_attention:test_the_gradients_are_those_of_the_softmax"


def _symmetric(age: Array, position: Array, window: int) -> Array:
    return np.asarray((np.abs(age) < window) & (age <= position))


def _itself(age: Array, position: Array, window: int) -> Array:
    return np.asarray((age == 0) & (age <= position))


def _cache_in_sight(age: Array, position: Array, window: int) -> Array:
    """See every cached token of the window, whatever document it is of."""
    cached = np.arange(age.shape[1]) < window - 1
    return np.asarray((age >= 0) & (age < window) & ((age <= position) | cached))


def _overflowing(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Take exponentials without taking the largest score off first."""
    keys = np.concatenate([inputs["keys"], inputs["cache_keys"]], axis=1).astype(np.float64)
    if not inputs["queries"].size:
        return {}
    scores = 0.5 * np.einsum("bthd,bshd->bhts", inputs["queries"].astype(np.float64), keys)
    lost = (scores > np.log(np.finfo(inputs["queries"].dtype).max)).any(-1)
    return {"output": np.where(np.moveaxis(lost, 1, 2)[..., None], np.nan, outputs["output"])}


def _tokens_age_out(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Let the persistent tokens leave the window like any other prefix."""
    without = attended(config, inputs, outputs, tokens=False).get("output", outputs["output"])
    late = inputs["position"] >= int(config["window"])
    return {"output": np.where(late[:, :, None, None], without, outputs["output"])}


def _rolled(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Hand on a cache that is one token late."""
    return {name: np.roll(outputs[name], 1, axis=1) for name in ("cache_keys", "cache_values")}


SCALE_AND_SIGHT = "misreading: the scale and the sight of attention"
TARGET_IN_SIGHT = "source: attention that is not causal, the target in sight"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"


def _needs_a_token(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {} if len(inputs["persistent_keys"]) else {"output": 0.0 * outputs["output"]}


def _newest_first(run: Run) -> Run:
    """Keep the cache the other way round, inside and outside alike."""
    turned = with_inputs(lambda _, x: {name: x[name][:, ::-1] for name in ("cache_keys", "cache_values")})
    return with_outputs(lambda _, __, y: {name: y[name][:, ::-1] for name in ("cache_keys", "cache_values")})(
        turned(run)
    )


def _cleared_by_an_empty_call(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if inputs["queries"].shape[1]:
        return {}
    return {name: 0.0 * outputs[name] for name in ("cache_keys", "cache_values")}


def _late(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Give every token the output of the one before it."""
    return {"output": np.concatenate([0.0 * outputs["output"][:, :1], outputs["output"][:, :-1]], axis=1)}


ATT_EMPTY = "test_attention_at_the_edges:test_a_call_without_tokens_hands_the_cache_on_as_it_came"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("att-without-scale", "ATT-1b", ATTENTION, ATT_LITERAL, attending(scale=1.0), SCALE_AND_SIGHT),
    Fault(
        "att-normalised-across-heads",
        "ATT-1c",
        ATTENTION,
        ATT_LITERAL,
        with_inputs(_across_heads),
        "source: queries and keys normalised over all heads at once: attention becomes uniform",
    ),
    Fault(
        "att-window-one-less",
        "ATT-2b",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: _in_window(age, position, window - 1)),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-window-one-more",
        "ATT-2b",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: _in_window(age, position, window + 1)),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-no-reset",
        "ATT-3a",
        ATTENTION,
        "test_attention:test_tokens_of_another_document_are_out_of_sight",
        with_inputs(_no_reset),
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
        with_outputs(_overflowing),
        "porting: squares overflow or underflow",
    ),
    Fault(
        "att-sees-itself-only",
        "ATT-2b",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=_itself),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    Fault(
        "att-cache-of-another-document",
        "ATT-3b",
        ATTENTION,
        ATT_DOCUMENT,
        attending(sight=_cache_in_sight),
        "porting: a sight that is wrong by one document or token",
    ),
    Fault(
        "att-persistent-tokens-age-out", "ATT-4a", ATTENTION, ATT_TOKENS, with_outputs(_tokens_age_out), SCALE_AND_SIGHT
    ),
    Fault(
        "att-cache-one-token-late",
        "ATT-5c",
        ATTENTION,
        ATT_SPLIT,
        with_outputs(_rolled),
        "porting: a filter or a cache the wrong way round",
    ),
    Fault(
        "att-not-causal", "ATT-6b", ATTENTION, f"test_attention:{CAUSAL}", attending(sight=_symmetric), TARGET_IN_SIGHT
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
        attending(sight=lambda age, position, window: _in_window(age, position, window) & (age > 0)),
        SCALE_AND_SIGHT,
    ),
    Fault(
        "att-needs-a-persistent-token", "ATT-4b", ATTENTION, ATT_LITERAL, with_outputs(_needs_a_token), SCALE_AND_SIGHT
    ),
    Fault(
        "att-cache-newest-first",
        "ATT-5b",
        ATTENTION,
        ATT_LITERAL,
        _newest_first,
        "porting: a filter or a cache the wrong way round",
    ),
    Fault(
        "att-empty-call-clears-the-cache",
        "ATT-5d",
        ATTENTION,
        ATT_EMPTY,
        with_outputs(_cleared_by_an_empty_call),
        "porting: a count that is off by one, or that counts an empty call",
    ),
    Fault(
        "att-one-token-late",
        "ATT-6a",
        ATTENTION,
        f"test_attention:{CAUSAL}",
        with_outputs(_late),
        "porting: a sight that is wrong by one document or token",
    ),
    Fault("att-queries-detached", "ATT-8a", ATTENTION, ATT_GRADIENT, gradients_lost("queries"), DERIVATIVE),
    Fault("att-keys-detached", "ATT-8b", ATTENTION, ATT_GRADIENT, gradients_lost("keys"), DERIVATIVE),
    Fault("att-values-detached", "ATT-8c", ATTENTION, ATT_GRADIENT, gradients_lost("values"), DERIVATIVE),
)

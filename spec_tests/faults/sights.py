"""More faults of convolution, attention and Q-K projection: what source systems did, and readers misread."""

from functools import partial

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, with_inputs, with_outputs
from spec_tests.faults.sequence import (
    ATT_LITERAL,
    ATT_SPLIT,
    ATT_WINDOW,
    ATTENTION,
    CAUSAL,
    CONV_DOCUMENT,
    CONV_LITERAL,
    CONV_SPLIT,
    QK_GATE,
    QK_GRADIENT,
    QK_LITERAL,
    ROWS,
    attended,
    attending,
)
from spec_tests.port import Array, Op

CONV, QK = Op.SHORT_CONV, Op.QK_PROJECTION
CONV_GRADIENT = "test_convolution:test_the_gradients_are_those_of_the_sum"
ATT_DOCUMENT = "test_attention:test_tokens_of_another_document_are_out_of_sight"
ATT_TOKENS = "test_attention:test_every_query_sees_every_persistent_token"
ATT_GRADIENT = "test_attention:test_the_gradients_are_those_of_the_softmax"
QK_NORM = "test_qk_projection:test_the_norm_is_that_of_pi_at_every_token"
QK_SPLIT = "test_qk_projection:test_any_split_into_calls_gives_the_same_results"
QK_SPAN = "test_qk_projection:test_orthonormal_keys_make_a_projector"


def _silu(y: Array) -> Array:
    return np.asarray(y / (1.0 + np.exp(-y)))


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


def _summed(
    _: Config, inputs: Arrays, __: Arrays, *, decay: float = 1.0, start: float = 0.0, weighted: bool = False
) -> Arrays:
    """Compute the projection with older keys fading, from a multiple of the identity, or divided by its weights."""
    keys, queries = inputs["keys"].astype(np.float64), inputs["queries"].astype(np.float64)
    length = np.sqrt((keys**2).sum(-1, keepdims=True))
    keys = keys / np.where(length > 0, length, 1.0)
    carry, projected = inputs["carry"].astype(np.float64), np.zeros(queries.shape)
    frobenius = np.zeros(queries.shape[:3])
    for row, t, head in np.ndindex(frobenius.shape):
        if inputs["position"][row, t] == 0:
            carry[row, head] = start * np.eye(keys.shape[-1])
        carry[row, head] = decay * carry[row, head] + np.outer(keys[row, t, head], keys[row, t, head])
        weight = 1.0 + 0.01 * inputs["position"][row, t] if weighted else 1.0
        projected[row, t, head] = carry[row, head] @ queries[row, t, head] / weight
        frobenius[row, t, head] = np.sqrt((carry[row, head] ** 2).sum())
    return {"projected": projected, "frobenius": frobenius, "carry": carry}


def _last_norm(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"frobenius": 0.0 * outputs["frobenius"] + outputs["frobenius"][:, -1:]}


def _gated(_: Config, inputs: Arrays, __: Arrays, *, divided: bool = True, bounded: bool = True) -> Arrays:
    length = inputs["frobenius"][..., None] + 1e-7 if divided else 1.0
    bent = np.exp(inputs["log_gain"]) * inputs["projected"] / length
    return {"gated": (np.tanh(bent) if bounded else bent) * inputs["scale"]}


def _scaled_inside(_: Config, inputs: Arrays, __: Arrays) -> Arrays:
    aligned = inputs["projected"] / (inputs["frobenius"][..., None] + 1e-7)
    return {"gated": np.tanh(np.exp(inputs["log_gain"]) * aligned * inputs["scale"])}


CONVOLUTION = (
    Fault("conv-silu-included", "CONV-1", CONV, CONV_LITERAL, with_outputs(lambda _, __, y: {"y": _silu(y["y"])})),
    Fault(
        "conv-own-token-only",
        "CONV-1",
        CONV,
        CONV_LITERAL,
        with_outputs(lambda _, inputs, __: {"y": inputs["x"] * inputs["weight"][:, -1]}),
    ),
    Fault(
        "conv-prefix-leaks-in",
        "CONV-2",
        CONV,
        CONV_DOCUMENT,
        with_inputs(lambda _, inputs: {"position": inputs["position"] + 1}),
    ),
    Fault(
        "conv-tail-newest-first",
        "CONV-3",
        CONV,
        CONV_SPLIT,
        with_outputs(lambda _, __, outputs: {"tail": outputs["tail"][:, ::-1]}),
    ),
    Fault(
        "conv-tail-of-row-0",
        "CONV-5",
        CONV,
        f"test_convolution:{ROWS}",
        with_inputs(lambda _, inputs: {"tail": 0.0 * inputs["tail"] + inputs["tail"][:1]}),
    ),
    Fault("conv-filter-detached", "CONV-6", CONV, CONV_GRADIENT, gradients_lost("weight")),
)

ATTENTIONS = (
    Fault("att-scale-of-the-whole-model", "ATT-1", ATTENTION, ATT_LITERAL, attending(scale=8.0**-0.5)),
    Fault("att-exponential-overflows", "ATT-1", ATTENTION, ATT_LITERAL, with_outputs(_overflowing)),
    Fault("att-sees-itself-only", "ATT-2", ATTENTION, ATT_WINDOW, attending(sight=_itself)),
    Fault("att-cache-of-another-document", "ATT-3", ATTENTION, ATT_DOCUMENT, attending(sight=_cache_in_sight)),
    Fault("att-persistent-tokens-age-out", "ATT-4", ATTENTION, ATT_TOKENS, with_outputs(_tokens_age_out)),
    Fault("att-cache-one-token-late", "ATT-5", ATTENTION, ATT_SPLIT, with_outputs(_rolled)),
    Fault("att-not-causal", "ATT-6", ATTENTION, f"test_attention:{CAUSAL}", attending(sight=_symmetric)),
    Fault("att-cache-detached", "ATT-8", ATTENTION, ATT_GRADIENT, gradients_lost("cache_keys", "cache_values")),
)

PROJECTION = (
    Fault("qk-older-keys-fade", "QK-1", QK, QK_LITERAL, with_outputs(partial(_summed, decay=0.95))),
    Fault("qk-divided-by-its-weights", "QK-1", QK, QK_LITERAL, with_outputs(partial(_summed, weighted=True))),
    Fault(
        "qk-not-projected",
        "QK-1",
        QK,
        QK_LITERAL,
        with_outputs(lambda _, inputs, __: {"projected": inputs["queries"]}),
    ),
    Fault("qk-norm-of-the-last-token", "QK-2", QK, QK_NORM, with_outputs(_last_norm)),
    Fault(
        "qk-carry-in-bfloat16",
        "QK-4",
        QK,
        QK_SPLIT,
        with_outputs(lambda _, __, outputs: {"carry": round_to_bf16(outputs["carry"])}),
    ),
    Fault("qk-started-at-the-identity", "QK-8", QK, QK_SPAN, with_outputs(partial(_summed, start=0.01))),
    Fault("qk-keys-detached", "QK-9", QK, QK_GRADIENT, gradients_lost("keys")),
    Fault("qk-gate-not-divided", "QK-10", Op.QK_GATE, QK_GATE, with_outputs(partial(_gated, divided=False))),
    Fault("qk-gate-not-bounded", "QK-10", Op.QK_GATE, QK_GATE, with_outputs(partial(_gated, bounded=False))),
    Fault("qk-gate-scale-inside", "QK-10", Op.QK_GATE, QK_GATE, with_outputs(_scaled_inside)),
)

SIGHTS = (*CONVOLUTION, *ATTENTIONS, *PROJECTION)

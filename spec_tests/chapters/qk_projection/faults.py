"""Faults of the Q-K projection and its gate."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    averaged,
    first_token_goes_on,
    forgotten,
    gradients_lost,
    multiplied,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Array, Op, round_to_bf16


def _no_reset(_: Config, inputs: Arrays) -> Arrays:
    return {"position": inputs["position"] + 1000}


def _directions(keys: Array) -> Array:
    length = np.sqrt((keys**2).sum(-1, keepdims=True))
    return np.asarray(keys / np.where(length > 0, length, 1.0))


def _projected(
    _: Config, inputs: Arrays, __: Arrays, *, directions: Callable[[Array], Array] = _directions, mean: bool = False
) -> Arrays:
    """Compute the projection token by token with other directions, or with Pi divided by the number of tokens."""
    keys = directions(inputs["keys"].astype(np.float64))
    carry = inputs["carry"].astype(np.float64)
    projected = np.zeros(keys.shape)
    frobenius = np.zeros(keys.shape[:3])
    for row, t, head in np.ndindex(frobenius.shape):
        if inputs["position"][row, t] == 0:
            carry[row, head] = 0.0
        carry[row, head] += np.outer(keys[row, t, head], keys[row, t, head])
        pi = carry[row, head] / (inputs["position"][row, t] + 1 if mean else 1.0)
        projected[row, t, head] = pi @ inputs["queries"][row, t, head]
        frobenius[row, t, head] = np.sqrt((pi**2).sum())
    return {"projected": projected, "frobenius": frobenius, "carry": carry}


def _strictly_past(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Leave the token's own key out of its Pi."""
    keys, queries = _directions(inputs["keys"].astype(np.float64)), inputs["queries"]
    return {"projected": outputs["projected"] - (keys * queries).sum(-1, keepdims=True) * keys}


def _whole_call(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Use Pi at the end of the call for every token."""
    return {"projected": np.einsum("bhij,bthj->bthi", outputs["carry"], inputs["queries"])}


def _trace_for_norm(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"frobenius": outputs["frobenius"] * 0.0 + 1.0 + inputs["position"][:, :, None]}


def _nan_gradient_of_zero_keys(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.keys" not in outputs:
        return {}
    return {"grad.keys": np.where(inputs["keys"].any(-1, keepdims=True), outputs["grad.keys"], np.nan)}


def _gated(_: Config, inputs: Arrays, __: Arrays, *, raw: bool) -> Arrays:
    aligned = inputs["projected"] / (inputs["frobenius"][..., None] + 1e-7)
    gain = inputs["log_gain"] if raw else np.exp(inputs["log_gain"])
    # With `raw` the logarithm is taken for the gain; otherwise the bound is applied before it.
    return {"gated": (np.tanh(gain * aligned) if raw else np.tanh(aligned) * gain) * inputs["scale"]}


ROWS = "test_rows_are_independent"
QK_LITERAL = "test_qk_projection:test_the_projected_query_is_pi_of_its_own_token_times_the_query"
QK_CAUSAL = "test_qk_projection:test_a_token_uses_the_keys_up_to_itself_and_no_later_ones"
QK_GRADIENT = "test_qk_projection:test_the_gradients_are_those_of_the_sums_and_finite_for_zero_keys"
QK_GATE = "test_qk_projection:test_the_gate_is_the_bounded_projected_query"
QK: Final = Op.QK_PROJECTION
QK_NORM = "test_qk_projection:test_the_norm_is_that_of_pi_at_every_token"
QK_SPLIT = "test_qk_projection:test_any_split_into_calls_gives_the_same_results"
QK_SPAN = "test_qk_projection:test_orthonormal_keys_make_a_projector"


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


def _gated_without(_: Config, inputs: Arrays, __: Arrays, *, divided: bool = True, bounded: bool = True) -> Arrays:
    length = inputs["frobenius"][..., None] + 1e-7 if divided else 1.0
    bent = np.exp(inputs["log_gain"]) * inputs["projected"] / length
    return {"gated": (np.tanh(bent) if bounded else bent) * inputs["scale"]}


def _scaled_inside(_: Config, inputs: Arrays, __: Arrays) -> Arrays:
    aligned = inputs["projected"] / (inputs["frobenius"][..., None] + 1e-7)
    return {"gated": np.tanh(np.exp(inputs["log_gain"]) * aligned * inputs["scale"])}


OTHER_SUM = "source: projection by past keys only, fading, from a multiple of the identity, divided"
WHICH_PI = "misreading: which norm, which keys and which token of Pi"
WHOLE_BLOCK = "source: projection by the keys of the whole block, or by their mean"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"
BOUNDED_GATE = "source: the gate of the bounded projection: raw gain, gain outside, no norm"


def _mean_of_the_call(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    tokens = max(1, inputs["keys"].shape[1])
    return {"projected": np.einsum("bhij,bthj->bthi", outputs["carry"] / tokens, inputs["queries"])}


def _zero_key_is_nan(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    silent = ~inputs["keys"].any(-1, keepdims=True)
    return {"projected": np.where(silent, np.nan, outputs["projected"])}


QK_DIRECTION = "test_qk_projection:test_only_the_direction_of_a_key_counts_and_a_zero_key_adds_nothing"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("qk-strictly-past", "QK-1c", Op.QK_PROJECTION, QK_LITERAL, with_outputs(_strictly_past), OTHER_SUM),
    Fault(
        "qk-trace-for-norm",
        "QK-2a",
        Op.QK_PROJECTION,
        "test_qk_projection:test_the_norm_is_that_of_pi_at_every_token",
        with_outputs(_trace_for_norm),
        WHICH_PI,
    ),
    Fault(
        "qk-no-reset",
        "QK-3b",
        Op.QK_PROJECTION,
        "test_qk_projection:test_a_new_document_starts_from_zero",
        with_inputs(_no_reset),
        "source: resets that nothing calls",
    ),
    Fault(
        "qk-carry-dropped",
        "QK-4",
        Op.QK_PROJECTION,
        "test_qk_projection:test_any_split_into_calls_gives_the_same_results",
        forgotten("carry"),
        "porting: state that is not handed on, or only that of one call",
    ),
    Fault("qk-whole-call", "QK-5a", Op.QK_PROJECTION, QK_CAUSAL, with_outputs(_whole_call), WHOLE_BLOCK),
    Fault(
        "qk-carry-averaged",
        "QK-6",
        Op.QK_PROJECTION,
        f"test_qk_projection:{ROWS}",
        averaged("carry"),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "qk-keys-not-normalised",
        "QK-7a",
        Op.QK_PROJECTION,
        "test_qk_projection:test_only_the_direction_of_a_key_counts_and_a_zero_key_adds_nothing",
        with_outputs(partial(_projected, directions=lambda keys: np.clip(keys, -1e9, 1e9))),
        WHICH_PI,
    ),
    Fault(
        "qk-mean-of-keys",
        "QK-8a",
        Op.QK_PROJECTION,
        "test_qk_projection:test_orthonormal_keys_make_a_projector",
        with_outputs(partial(_projected, mean=True)),
        WHOLE_BLOCK,
    ),
    Fault("qk-carry-detached", "QK-9c", Op.QK_PROJECTION, QK_GRADIENT, gradients_lost("carry"), DERIVATIVE),
    Fault(
        "qk-nan-gradient-of-zero-keys",
        "QK-9d",
        Op.QK_PROJECTION,
        QK_GRADIENT,
        with_outputs(_nan_gradient_of_zero_keys),
        "porting: a division by zero, or its derivative",
    ),
    Fault("qk-gate-raw-gain", "QK-10a", Op.QK_GATE, QK_GATE, with_outputs(partial(_gated, raw=True)), BOUNDED_GATE),
    Fault(
        "qk-gate-gain-after-tanh", "QK-10a", Op.QK_GATE, QK_GATE, with_outputs(partial(_gated, raw=False)), BOUNDED_GATE
    ),
    Fault("qk-older-keys-fade", "QK-1b", QK, QK_LITERAL, with_outputs(partial(_summed, decay=0.95)), OTHER_SUM),
    Fault(
        "qk-divided-by-its-weights", "QK-1a", QK, QK_LITERAL, with_outputs(partial(_summed, weighted=True)), OTHER_SUM
    ),
    Fault(
        "qk-not-projected",
        "QK-1a",
        QK,
        QK_LITERAL,
        with_outputs(lambda _, inputs, __: {"projected": inputs["queries"]}),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    Fault("qk-norm-of-the-last-token", "QK-2b", QK, QK_NORM, with_outputs(_last_norm), WHICH_PI),
    Fault(
        "qk-carry-in-bfloat16",
        "QK-4",
        QK,
        QK_SPLIT,
        with_outputs(lambda _, __, outputs: {"carry": round_to_bf16(outputs["carry"])}),
        "source: accumulators in bfloat16 stall",
    ),
    Fault("qk-started-at-the-identity", "QK-8a", QK, QK_SPAN, with_outputs(partial(_summed, start=0.01)), OTHER_SUM),
    Fault("qk-keys-detached", "QK-9b", QK, QK_GRADIENT, gradients_lost("keys"), DERIVATIVE),
    Fault(
        "qk-gate-not-divided",
        "QK-10b",
        Op.QK_GATE,
        QK_GATE,
        with_outputs(partial(_gated_without, divided=False)),
        BOUNDED_GATE,
    ),
    Fault(
        "qk-gate-not-bounded",
        "QK-10a",
        Op.QK_GATE,
        QK_GATE,
        with_outputs(partial(_gated_without, bounded=False)),
        BOUNDED_GATE,
    ),
    Fault("qk-gate-scale-inside", "QK-10c", Op.QK_GATE, QK_GATE, with_outputs(_scaled_inside), BOUNDED_GATE),
    Fault(
        "qk-sum-of-the-call",
        "QK-1b",
        QK,
        QK_LITERAL,
        with_inputs(lambda _, x: {"carry": 0.0 * x["carry"]}),
        "misreading: from where the sum of Pi runs",
    ),
    Fault(
        "qk-carry-counts-at-a-start",
        "QK-3a",
        QK,
        QK_LITERAL,
        first_token_goes_on(),
        "source: resets that nothing calls",
    ),
    Fault("qk-mean-over-the-call", "QK-5b", QK, QK_CAUSAL, with_outputs(_mean_of_the_call), WHOLE_BLOCK),
    Fault(
        "qk-zero-key-is-nan",
        "QK-7b",
        QK,
        QK_DIRECTION,
        with_outputs(_zero_key_is_nan),
        "porting: a division by zero, or its derivative",
    ),
    Fault("qk-norm-without-root", "QK-8b", QK, QK_SPAN, with_outputs(_trace_for_norm), WHICH_PI),
    Fault("qk-queries-detached", "QK-9a", QK, QK_GRADIENT, gradients_lost("queries"), DERIVATIVE),
    *multiplied("qk", Op.QK_PROJECTION, "QK-3b", "test_qk_projection_sight", "queries", "keys", "carry"),
)

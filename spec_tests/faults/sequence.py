"""Faults of the operations over a sequence: convolution, attention, Q-K projection."""

from collections.abc import Callable
from functools import partial

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, gradients_lost, with_inputs, with_outputs
from spec_tests.port import Array, Op

ATTENTION = Op.SLIDING_WINDOW_ATTENTION
Sight = Callable[[Array, Array, int], Array]


def _no_reset(_: Config, inputs: Arrays) -> Arrays:
    return {"position": inputs["position"] + 1000}


def forgotten(*names: str) -> Wrap:
    """Build a fault that hands on zeros where this state should go."""
    return with_outputs(lambda _, __, outputs: {name: 0.0 * outputs[name] for name in names})


def averaged(*names: str) -> Wrap:
    """Build a fault that averages this state over the rows before it is used."""
    return with_inputs(lambda _, inputs: {name: 0.0 * inputs[name] + inputs[name].mean(0) for name in names})


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


CONV_LITERAL = "test_convolution:test_the_output_is_the_literal_sum_over_taps"
CONV_DOCUMENT = "test_convolution:test_another_document_never_counts_whatever_it_holds"
CONV_SPLIT = "test_convolution:test_any_split_into_calls_gives_the_same_outputs_and_tail"
CAUSAL = "test_outputs_depend_on_their_own_token_and_not_on_later_ones"
ROWS = "test_rows_are_independent"
ATT_LITERAL = "test_attention:test_the_output_is_the_literal_softmax_over_the_keys_in_sight"
ATT_WINDOW = "test_attention:test_the_window_holds_the_token_itself_and_the_ones_before_it_exactly"
ATT_SPLIT = "test_attention:test_any_split_into_calls_gives_the_same_outputs_and_caches"
QK_LITERAL = "test_qk_projection:test_the_projected_query_is_pi_of_its_own_token_times_the_query"
QK_CAUSAL = "test_qk_projection:test_a_token_uses_the_keys_up_to_itself_and_no_later_ones"
QK_GRADIENT = "test_qk_projection:test_the_gradients_are_those_of_the_sums_and_finite_for_zero_keys"
QK_GATE = "test_qk_projection:test_the_gate_is_the_bounded_projected_query"

CONVOLUTION = (
    Fault(
        "conv-filter-reversed",
        "CONV-1",
        Op.SHORT_CONV,
        CONV_LITERAL,
        with_inputs(lambda _, inputs: {"weight": inputs["weight"][:, ::-1]}),
    ),
    Fault("conv-no-reset", "CONV-2", Op.SHORT_CONV, CONV_DOCUMENT, with_inputs(_no_reset)),
    Fault("conv-masked-by-product", "CONV-2", Op.SHORT_CONV, CONV_DOCUMENT, with_outputs(_masked_by_product)),
    Fault("conv-tail-dropped", "CONV-3", Op.SHORT_CONV, CONV_SPLIT, forgotten("tail")),
    Fault("conv-tail-of-one-call", "CONV-3", Op.SHORT_CONV, CONV_SPLIT, with_outputs(_short_tail)),
    Fault(
        "conv-centred",
        "CONV-4",
        Op.SHORT_CONV,
        f"test_convolution:{CAUSAL}",
        with_inputs(lambda _, inputs: {"x": _shifted("x", 1, inputs)}),
    ),
    Fault("conv-tail-averaged", "CONV-5", Op.SHORT_CONV, f"test_convolution:{ROWS}", averaged("tail")),
    Fault(
        "conv-tail-detached",
        "CONV-6",
        Op.SHORT_CONV,
        "test_convolution:test_the_gradients_are_those_of_the_sum",
        gradients_lost("tail"),
    ),
)

ATTENTIONS = (
    Fault("att-without-scale", "ATT-1", ATTENTION, ATT_LITERAL, attending(scale=1.0)),
    Fault("att-normalised-across-heads", "ATT-1", ATTENTION, ATT_LITERAL, with_inputs(_across_heads)),
    Fault(
        "att-window-one-less",
        "ATT-2",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: _in_window(age, position, window - 1)),
    ),
    Fault(
        "att-window-one-more",
        "ATT-2",
        ATTENTION,
        ATT_WINDOW,
        attending(sight=lambda age, position, window: _in_window(age, position, window + 1)),
    ),
    Fault(
        "att-no-reset",
        "ATT-3",
        ATTENTION,
        "test_attention:test_tokens_of_another_document_are_out_of_sight",
        with_inputs(_no_reset),
    ),
    Fault(
        "att-without-persistent-tokens",
        "ATT-4",
        ATTENTION,
        "test_attention:test_every_query_sees_every_persistent_token",
        attending(tokens=False),
    ),
    Fault("att-cache-dropped", "ATT-5", ATTENTION, ATT_SPLIT, forgotten("cache_keys", "cache_values")),
    Fault(
        "att-sees-the-next-token",
        "ATT-6",
        ATTENTION,
        f"test_attention:{CAUSAL}",
        attending(sight=lambda age, position, window: (age >= -1) & (age < window) & (age <= position)),
    ),
    Fault("att-cache-averaged", "ATT-7", ATTENTION, f"test_attention:{ROWS}", averaged("cache_values")),
    Fault(
        "att-persistent-tokens-frozen",
        "ATT-8",
        ATTENTION,
        "test_attention:test_the_gradients_are_those_of_the_softmax",
        gradients_lost("persistent_keys"),
    ),
)

PROJECTION = (
    Fault("qk-strictly-past", "QK-1", Op.QK_PROJECTION, QK_LITERAL, with_outputs(_strictly_past)),
    Fault(
        "qk-trace-for-norm",
        "QK-2",
        Op.QK_PROJECTION,
        "test_qk_projection:test_the_norm_is_that_of_pi_at_every_token",
        with_outputs(_trace_for_norm),
    ),
    Fault(
        "qk-no-reset",
        "QK-3",
        Op.QK_PROJECTION,
        "test_qk_projection:test_a_new_document_starts_from_zero",
        with_inputs(_no_reset),
    ),
    Fault(
        "qk-carry-dropped",
        "QK-4",
        Op.QK_PROJECTION,
        "test_qk_projection:test_any_split_into_calls_gives_the_same_results",
        forgotten("carry"),
    ),
    Fault("qk-whole-call", "QK-5", Op.QK_PROJECTION, QK_CAUSAL, with_outputs(_whole_call)),
    Fault("qk-carry-averaged", "QK-6", Op.QK_PROJECTION, f"test_qk_projection:{ROWS}", averaged("carry")),
    Fault(
        "qk-keys-not-normalised",
        "QK-7",
        Op.QK_PROJECTION,
        "test_qk_projection:test_only_the_direction_of_a_key_counts_and_a_zero_key_adds_nothing",
        with_outputs(partial(_projected, directions=lambda keys: np.clip(keys, -1e9, 1e9))),
    ),
    Fault(
        "qk-mean-of-keys",
        "QK-8",
        Op.QK_PROJECTION,
        "test_qk_projection:test_orthonormal_keys_make_a_projector",
        with_outputs(partial(_projected, mean=True)),
    ),
    Fault("qk-carry-detached", "QK-9", Op.QK_PROJECTION, QK_GRADIENT, gradients_lost("carry")),
    Fault(
        "qk-nan-gradient-of-zero-keys",
        "QK-9",
        Op.QK_PROJECTION,
        QK_GRADIENT,
        with_outputs(_nan_gradient_of_zero_keys),
    ),
    Fault("qk-gate-raw-gain", "QK-10", Op.QK_GATE, QK_GATE, with_outputs(partial(_gated, raw=True))),
    Fault("qk-gate-gain-after-tanh", "QK-10", Op.QK_GATE, QK_GATE, with_outputs(partial(_gated, raw=False))),
)

SEQUENCE = (*CONVOLUTION, *ATTENTIONS, *PROJECTION)

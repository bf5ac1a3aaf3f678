"""Faults of the gradients of the memory."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.memory_grad.wrong_slopes import nothing_to_the_anchor, slopes_with
from spec_tests.chapters.memory_step.loop import GATES, STATE
from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, multiplied, with_outputs
from spec_tests.port import Array, Op

GRAD = Op.MEMORY_GRAD


def _nan_where(condition: Callable[[Arrays], Array], *names: str) -> Callable[[Config, Arrays, Arrays], Arrays]:
    """Return a change that makes gradients NaN where a condition on the inputs holds anywhere."""

    def change(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        poisoned = bool(np.any(condition(inputs)))
        return {f"grad.{name}": outputs[f"grad.{name}"] + (np.nan if poisoned else 0.0) for name in names}

    return change


def _overflowing(inputs: Arrays) -> Array:
    """Return whether 1 / (product of decays) over the call overflows: masked after the exponential, it becomes NaN."""
    return np.asarray(inputs["momentum_decay"].astype(np.float64).prod(axis=1) < 1e-300)


def _last_four(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Cut the gradient of tokens before the last four of a call."""
    return {
        f"grad.{name}": outputs[f"grad.{name}"] * (np.arange(outputs[f"grad.{name}"].shape[1]) >= 2)[:, None, None]
        for name in ("keys", "values")
    }


def _leaking(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {f"grad.{name}": outputs[f"grad.{name}"] + 1e-14 for name in ("weights", "keys")}


def _cut_off(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Give the gradient of M_0 to the state of rows without tokens, and none to M_0."""
    trusted = (inputs["position"] == 0) & (inputs["reset"][:, 0] == 0)
    return {"grad.initial": outputs["grad.initial"] * (not trusted.any())}


TOKENS_GRAD: Final = "test_memory_grad:test_gradients_of_keys_values_and_queries_are_those_of_the_loop"
GATES_GRAD: Final = "test_memory_grad:test_gradients_of_the_gates_are_those_of_the_loop"
STATE_GRAD: Final = "test_memory_grad:test_gradients_of_m_0_and_of_the_state_are_those_of_the_loop"
CALLS_GRAD: Final = "test_memory_grad:test_gradients_go_through_the_state_from_call_to_call"
ENDS_GRAD: Final = "test_memory_grad:test_gradients_at_the_ends_of_the_gates_are_finite_and_those_of_the_loop"
PAST_GRAD: Final = "test_memory_grad:test_no_gradient_crosses_the_start_of_a_document_or_goes_back_in_time"
START_GRAD: Final = "test_memory_grad:test_a_document_that_begins_gives_m_0_the_gradient_of_a_fresh_start"
MASKED = "test_memory_grad:test_no_product_of_small_decays_overflows_where_it_is_masked"


def _nan_if(condition: Callable[[Config, Arrays], bool], *names: str) -> Callable[[Config, Arrays, Arrays], Arrays]:
    def change(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        poison = np.nan if condition(config, inputs) else 0.0
        return {f"grad.{name}": outputs[f"grad.{name}"] + poison for name in names}

    return change


def _rank_one(config: Config, inputs: Arrays) -> bool:
    """Return whether Newton-Schulz meets a momentum of rank one, at which the polar factor has no derivative."""
    first = (inputs["position"] == 0) | (inputs["reset"][:, 0] == 1)
    return bool(first.any()) and config["rule"] in ("atlas", "atlas_appendix")


def _underflowing(_: Config, inputs: Arrays) -> bool:
    return bool((inputs["retention"].astype(np.float64).prod(axis=1) < 1e-300).any())


def _by_later_tokens(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Let a read give a little gradient to the query after it."""
    leaked = np.roll(inputs["cotangent.reads"].sum(-1, keepdims=True), 1, axis=1)
    return {"grad.queries": outputs["grad.queries"] + 1e-3 * leaked}


DETACHED_WRITES = "source: detached writes: keys, values and gates learn nothing from the memory"
DERIVATIVE = "porting: a derivative that is missing, cut short or leaks"
QUOTIENT = "misreading: a quotient of decay products where one is zero"


def _leaking_into_the_state(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"grad.momentum": outputs["grad.momentum"] + 1e-14}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("grad-keys-detached", "GRAD-1a", GRAD, TOKENS_GRAD, gradients_lost("keys"), DETACHED_WRITES),
    Fault("grad-of-the-last-writes-only", "GRAD-1d", GRAD, TOKENS_GRAD, with_outputs(_last_four), DERIVATIVE),
    *(
        Fault(f"grad-{name}-detached", f"GRAD-2{letter}", GRAD, GATES_GRAD, gradients_lost(name), DERIVATIVE)
        for letter, name in zip("abcd", GATES, strict=True)
    ),
    Fault("grad-m-0-detached", "GRAD-3a", GRAD, STATE_GRAD, gradients_lost("initial"), DETACHED_WRITES),
    Fault("grad-window-detached", "GRAD-3e", GRAD, STATE_GRAD, gradients_lost("window_keys"), DERIVATIVE),
    Fault("grad-state-detached", "GRAD-3f", GRAD, CALLS_GRAD, gradients_lost("weights", "momentum"), DETACHED_WRITES),
    Fault(
        "grad-logarithm-of-zero",
        "GRAD-4a",
        GRAD,
        ENDS_GRAD,
        with_outputs(_nan_where(lambda inputs: inputs["retention"] == 0.0, "retention")),
        QUOTIENT,
    ),
    Fault(
        "grad-masked-after-the-exponential",
        "GRAD-4a",
        GRAD,
        ENDS_GRAD,
        with_outputs(_nan_where(_overflowing, "keys", "step_size")),
        "source: decay products masked after the exponential: NaN gradients at theta^64",
    ),
    Fault("grad-leaks-over-a-reset", "GRAD-5a", GRAD, PAST_GRAD, with_outputs(_leaking), DERIVATIVE),
    Fault("grad-fresh-start-cut-off", "GRAD-6", GRAD, START_GRAD, with_outputs(_cut_off), DERIVATIVE),
    Fault("grad-values-detached", "GRAD-1b", GRAD, TOKENS_GRAD, gradients_lost("values"), DETACHED_WRITES),
    Fault("grad-queries-detached", "GRAD-1c", GRAD, TOKENS_GRAD, gradients_lost("queries"), DERIVATIVE),
    Fault(
        "grad-writes-detached",
        "GRAD-2",
        GRAD,
        GATES_GRAD,
        gradients_lost(*GATES, "keys", "values", "initial"),
        DETACHED_WRITES,
    ),
    Fault("grad-anchor-detached", "GRAD-3d", GRAD, STATE_GRAD, gradients_lost("anchor"), DERIVATIVE),
    Fault("grad-whole-state-detached", "GRAD-3f", GRAD, STATE_GRAD, gradients_lost(*STATE[:-1]), DETACHED_WRITES),
    Fault(
        "grad-quotient-of-products",
        "GRAD-4b",
        GRAD,
        MASKED,
        with_outputs(_nan_if(_underflowing, "keys", "weights")),
        QUOTIENT,
    ),
    Fault("grad-reaches-later-queries", "GRAD-5c", GRAD, PAST_GRAD, with_outputs(_by_later_tokens), DERIVATIVE),
    Fault(
        "grad-of-a-polar-factor",
        "GRAD-6",
        GRAD,
        START_GRAD,
        with_outputs(_nan_if(_rank_one, "initial")),
        "misreading: the derivative of a polar factor at a rank-one momentum",
    ),
    Fault(
        "grad-of-gradients-detached",
        "GRAD-1e",
        GRAD,
        STATE_GRAD,
        slopes_with("through_gradient", nothing_to_the_anchor),
        DERIVATIVE,
    ),
    Fault("grad-weights-detached", "GRAD-3b", GRAD, STATE_GRAD, gradients_lost("weights"), DERIVATIVE),
    Fault("grad-momentum-detached", "GRAD-3c", GRAD, STATE_GRAD, gradients_lost("momentum"), DERIVATIVE),
    Fault("grad-leaks-into-the-state", "GRAD-5b", GRAD, PAST_GRAD, with_outputs(_leaking_into_the_state), DERIVATIVE),
    *multiplied("grad", Op.MEMORY_GRAD, "GRAD-5b", "test_memory_grad_sight", "weights", "window_keys"),
)

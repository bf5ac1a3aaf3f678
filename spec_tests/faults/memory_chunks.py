"""Faults of windows, chunks and gradients of the memory."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    gradients_lost,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.faults.memory import CHUNKED, SCAN, AnchorLate, computed
from spec_tests.oracle.memory import GATES, Cell, Inputs, Matrices, Oracle, Token
from spec_tests.port import Array, Op

GRAD = Op.MEMORY_GRAD


class GammaReversed(Oracle):
    """Weights counted from the oldest pair in sight."""

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return super().gamma(cell, token, self.ages(cell, token)[-1] - age)


class GammaByPosition(Oracle):
    """Weights by the pair's place in the chunk, not by its age."""

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return super().gamma(cell, token, (self.phase(cell) - age) % len(token.gamma))


class GammaLate(Oracle):
    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return super().gamma(cell, token, (age + 1) % len(token.gamma))


class DeadPlacesCount(Oracle):
    """The window is read to its full length whatever the document has."""

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        cell = super().load(inputs, row, head)
        past = inputs["window_keys"].shape[1]
        names = ("window_keys", "window_values")
        cell.window = [(inputs[names[0]][row, i, head], inputs[names[1]][row, i, head]) for i in range(past)]
        return cell

    def begin(self, cell: Cell, initial: Matrices) -> None:
        window = cell.window
        super().begin(cell, initial)
        cell.window = window

    def ages(self, cell: Cell, token: Token) -> range:
        return range(min(len(token.gamma), len(cell.window)))


class OldAnchor(Oracle):
    """Pairs of the chunk before keep the gradient they had there."""

    previous: Matrices

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        before = cell.anchor
        super().enter(cell, token, initial)
        if self.phase(cell) == 0:
            self.previous = before

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        ages, phase = self.ages(cell, token), self.phase(cell)
        if len(ages) <= phase + 1:
            return super().window_gradient(cell, token)
        total = [0.0 * matrix for matrix in cell.anchor]
        old = Cell(cell.weights, cell.momentum, self.previous, cell.window, cell.position)
        for age in ages:
            key, value = cell.window[-1 - age]
            parts = self.pair_gradient(cell if age <= phase else old, key, value)
            total = [sum_ + self.gamma(cell, token, age) * part for sum_, part in zip(total, parts, strict=True)]
        return total

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        cell = super().load(inputs, row, head)
        self.previous = cell.anchor
        return cell


class GammaNormalised(Oracle):
    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return super().gamma(cell, token, age) / (1e-9 + float(token.gamma.sum()))


class CurrentState(Oracle):
    """The chunk as a mere schedule: gradients at the memory just written."""

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        now = Cell(cell.weights, cell.momentum, cell.weights, cell.window, cell.position)
        return super().window_gradient(now, token)


class PhaseOfTheCall(Oracle):
    """Chunks counted from the start of the call."""

    entered = 0

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        cell = super().load(inputs, row, head)
        self.entered = cell.position
        return cell

    def phase(self, cell: Cell) -> int:
        return (cell.position - self.entered) % self.chunk


class PhaseOfRowZero(Oracle):
    """One phase for all rows: that of row 0."""

    offset = 0

    def run(self, inputs: Inputs) -> dict[str, Array]:
        self.first = int(inputs["position"][0]) if len(inputs["position"]) else 0
        return super().run(inputs)

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        cell = super().load(inputs, row, head)
        self.offset = self.first - cell.position
        return cell

    def phase(self, cell: Cell) -> int:
        return (cell.position + self.offset) % self.chunk


class CarriedUndecayed(Oracle):
    """The momentum that enters a call does not decay with the first token."""

    first = False

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.first = True
        return super().load(inputs, row, head)

    def decay(self, token: Token) -> float:
        return 1.0 if self.first and self.rule != "delta" else super().decay(token)

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        self.first = False


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


WEIGHS: Final = "test_memory_window:test_a_pair_weighs_what_the_gate_of_the_writing_token_says_at_its_age"
DEAD: Final = "test_memory_window:test_tokens_that_the_document_does_not_have_never_count"
CARRY: Final = "test_memory_window:test_a_carried_window_reaches_over_borders_and_is_evaluated_at_the_new_anchor"
TRUNCATE: Final = "test_memory_window:test_a_truncated_window_stops_at_the_start_of_the_chunk"
SUMS: Final = "test_memory_window:test_literal_weights_add_up_and_ages_of_weight_zero_do_not_count"
ANCHOR: Final = "test_memory_chunked:test_gradients_are_taken_at_the_memory_before_the_first_token_of_the_chunk"
PHASE: Final = "test_memory_chunked:test_chunks_are_counted_from_the_start_of_the_document"
NESTED: Final = "test_memory_chunked:test_inside_a_chunk_the_linear_rules_are_nested_sums"
ONE: Final = "test_memory_chunked:test_a_chunk_of_one_token_takes_gradients_at_the_memory_just_written"
PARALLEL: Final = "test_memory_chunked:test_the_parallel_form_is_the_loop"
EQUALS: Final = "test_memory_chunked:test_the_parallel_form_equals_the_recurrence_in_outputs_splits_and_gradients"
TOKENS_GRAD: Final = "test_memory_grad:test_gradients_of_keys_values_and_queries_are_those_of_the_loop"
GATES_GRAD: Final = "test_memory_grad:test_gradients_of_the_gates_are_those_of_the_loop"
STATE_GRAD: Final = "test_memory_grad:test_gradients_of_m_0_and_of_the_state_are_those_of_the_loop"
CALLS_GRAD: Final = "test_memory_grad:test_gradients_go_through_the_state_from_call_to_call"
ENDS_GRAD: Final = "test_memory_grad:test_gradients_at_the_ends_of_the_gates_are_finite_and_those_of_the_loop"
PAST_GRAD: Final = "test_memory_grad:test_no_gradient_crosses_the_start_of_a_document_or_goes_back_in_time"
START_GRAD: Final = "test_memory_grad:test_a_document_that_begins_gives_m_0_the_gradient_of_a_fresh_start"

WINDOWS = (
    Fault("win-gamma-reversed", "WIN-1", SCAN, WEIGHS, computed(GammaReversed)),
    Fault("win-gamma-by-position", "WIN-1", CHUNKED, WEIGHS, computed(GammaByPosition)),
    Fault("win-gamma-late", "WIN-1", CHUNKED, WEIGHS, computed(GammaLate)),
    Fault("win-dead-places-count", "WIN-2", CHUNKED, DEAD, computed(DeadPlacesCount)),
    Fault("win-truncated-under-carry", "WIN-3", CHUNKED, CARRY, with_config(lambda _: {"boundary": "truncate"})),
    Fault("win-old-anchor", "WIN-3", SCAN, CARRY, computed(OldAnchor)),
    Fault("win-carried-under-truncate", "WIN-4", CHUNKED, TRUNCATE, with_config(lambda _: {"boundary": "carry"})),
    Fault("win-gamma-normalised", "WIN-5", SCAN, SUMS, computed(GammaNormalised)),
)

CHUNKS = (
    Fault("chunk-current-state", "CHUNK-1", CHUNKED, ANCHOR, computed(CurrentState)),
    Fault("chunk-length-ignored", "CHUNK-1", SCAN, ANCHOR, with_config(lambda _: {"chunk": 1})),
    Fault("chunk-phase-of-the-call", "CHUNK-2", CHUNKED, PHASE, computed(PhaseOfTheCall)),
    Fault("chunk-phase-of-row-0", "CHUNK-2", CHUNKED, PHASE, computed(PhaseOfRowZero)),
    Fault("chunk-carried-momentum-undecayed", "CHUNK-3", CHUNKED, NESTED, computed(CarriedUndecayed)),
    Fault("chunk-of-two", "CHUNK-4", SCAN, ONE, with_config(lambda config: {"chunk": int(config["chunk"]) + 1})),
    Fault("chunk-anchor-late", "CHUNK-5", CHUNKED, PARALLEL, computed(AnchorLate)),
    Fault(
        "chunk-anchor-of-the-call",
        "CHUNK-5",
        CHUNKED,
        PARALLEL,
        with_inputs(lambda _, inputs: {"anchor": inputs["weights"]}),
    ),
    Fault("chunk-phase-lost-in-splits", "CHUNK-5", CHUNKED, EQUALS, computed(PhaseOfTheCall)),
    Fault("chunk-detached-in-the-carry", "CHUNK-6", CHUNKED, EQUALS, gradients_lost("weights")),
    Fault("chunk-anchor-detached", "CHUNK-6", CHUNKED, EQUALS, gradients_lost("anchor")),
)

GRADIENTS = (
    Fault("grad-keys-detached", "GRAD-1", GRAD, TOKENS_GRAD, gradients_lost("keys")),
    Fault("grad-of-the-last-writes-only", "GRAD-1", GRAD, TOKENS_GRAD, with_outputs(_last_four)),
    *(Fault(f"grad-{name}-detached", "GRAD-2", GRAD, GATES_GRAD, gradients_lost(name)) for name in GATES),
    Fault("grad-m-0-detached", "GRAD-3", GRAD, STATE_GRAD, gradients_lost("initial")),
    Fault("grad-window-detached", "GRAD-3", GRAD, STATE_GRAD, gradients_lost("window_keys")),
    Fault("grad-state-detached", "GRAD-3", GRAD, CALLS_GRAD, gradients_lost("weights", "momentum")),
    Fault(
        "grad-logarithm-of-zero",
        "GRAD-4",
        GRAD,
        ENDS_GRAD,
        with_outputs(_nan_where(lambda inputs: inputs["retention"] == 0.0, "retention")),
    ),
    Fault(
        "grad-masked-after-the-exponential",
        "GRAD-4",
        GRAD,
        ENDS_GRAD,
        with_outputs(_nan_where(_overflowing, "keys", "step_size")),
    ),
    Fault("grad-leaks-over-a-reset", "GRAD-5", GRAD, PAST_GRAD, with_outputs(_leaking)),
    Fault("grad-fresh-start-cut-off", "GRAD-6", GRAD, START_GRAD, with_outputs(_cut_off)),
)

MEMORY_CHUNKS = (*WINDOWS, *CHUNKS, *GRADIENTS)

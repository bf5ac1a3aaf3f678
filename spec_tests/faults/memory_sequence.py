"""More faults of the memory over a sequence: documents, chunks, windows, calls and gradients, as found in the wild."""

from collections.abc import Callable

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, with_inputs, with_outputs
from spec_tests.faults.memory import CAUSAL, CHUNKED, ENDS, FRESH, LOOP, ROWS, SCAN, SPLIT, computed
from spec_tests.faults.memory_chunks import (
    ANCHOR,
    CARRY,
    GATES_GRAD,
    GRAD,
    NESTED,
    PARALLEL,
    PAST_GRAD,
    START_GRAD,
    STATE_GRAD,
    SUMS,
    TOKENS_GRAD,
    WEIGHS,
)
from spec_tests.oracle.memory import GATES, STATE, Cell, Inputs, Matrices, Oracle, Token
from spec_tests.port import Array

RANDOM = "test_memory_scan:test_random_calls_give_what_the_loop_gives_in_every_form"
ANYWHERE = "test_memory_scan:test_a_document_may_begin_at_any_token"
MASKED = "test_memory_grad:test_no_product_of_small_decays_overflows_where_it_is_masked"


class OneWriteAChunk(Oracle):
    """One update a chunk, with the gates of its last token."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        if self.phase(cell) == self.chunk - 1:
            super().write(cell, token, gradient)


class AnchoredAtTheStart(Oracle):
    """Gradients at M_0 of the document: the printed M_0 taken for the state at xi."""

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        super().enter(cell, token, initial)
        cell.anchor = [matrix.copy() for matrix in initial]


class CountedTwice(Oracle):
    """Eq. 6 of TNT as printed: the sum over the chunk so far, added to what already holds it."""

    so_far: Matrices

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        before = self.so_far if self.phase(cell) and self.so_far else [0.0 * part for part in gradient]
        self.so_far = [old + part for old, part in zip(before, gradient, strict=True)]
        super().write(cell, token, self.so_far)

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.so_far = []
        return super().load(inputs, row, head)


class MeanOverChunk(Oracle):
    """Gradients divided by the length of the chunk, with `literal` steps."""

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        return [part / (1.0 if self.mass else self.chunk) for part in super().window_gradient(cell, token)]


class RemainderDropped(Oracle):
    """Tokens after the last whole chunk of the call are not written."""

    left = 0

    def run(self, inputs: Inputs) -> dict[str, Array]:
        self.length = inputs["values"].shape[1]
        return super().run(inputs)

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.left = self.length
        return super().load(inputs, row, head)

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        done, self.left = self.length - self.left, self.left - 1
        if done < self.length // self.chunk * self.chunk:
            super().write(cell, token, gradient)


class StrictlyPast(Oracle):
    """The window without the token itself."""

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return super().gamma(cell, token, age) if age else 0.0


class FadingWindow(Oracle):
    """Weights 0.95^age, whatever the gate says."""

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return 0.95**age


class GateOfThePair(Oracle):
    """Every pair weighs what its own token's gate says, not that of the writing token."""

    seen: list[Array]

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.seen = []
        return super().load(inputs, row, head)

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        self.seen = [*self.seen, token.gamma]
        return super().window_gradient(cell, token)

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        own = self.seen[-1 - age] if age < len(self.seen) else token.gamma
        return super().gamma(cell, Token(**{**vars(token), "gamma": own}), age)


class MeanOverWindow(Oracle):
    """The gradient divided by the number of pairs in sight, with `literal` steps."""

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return super().gamma(cell, token, age) / len(self.ages(cell, token))


class ResetLate(Oracle):
    """The marked token is still written into the document before; the next one starts afresh."""

    pending = False

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.pending = False
        return super().load(inputs, row, head)

    def begins(self, cell: Cell, token: Token) -> bool:
        begins, self.pending = self.pending or cell.position == 0, token.reset
        return begins


def gates_of(pick: Callable[[Array], Array]) -> Callable[[Config, Arrays], Arrays]:
    """Return a change that gives every token of a call the same gates."""

    def change(_: Config, inputs: Arrays) -> Arrays:
        return {name: 0.0 * inputs[name] + pick(inputs[name]) for name in GATES} if inputs["keys"].shape[1] else {}

    return change


def _any_row(_: Config, inputs: Arrays) -> Arrays:
    return {"reset": 0 * inputs["reset"] + inputs["reset"].max(axis=0, initial=0)}


def _never_written(_: Config, inputs: Arrays) -> Arrays:
    return {"step_size": 0.0 * inputs["step_size"], "retention": np.ones_like(inputs["retention"])} | {
        "momentum": 0.0 * inputs["momentum"]
    }


def _state_forgotten(_: Config, inputs: Arrays) -> Arrays:
    return {"position": 0 * inputs["position"]}


def _first_head(_: Config, inputs: Arrays) -> Arrays:
    return {"initial": 0.0 * inputs["initial"] + inputs["initial"][:1]}


def _window_of_the_call(_: Config, inputs: Arrays) -> Arrays:
    return {name: 0.0 * inputs[name] for name in ("window_keys", "window_values")}


def _divided_by_products(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Divide by the product of retentions since the start of the call, which may be zero."""
    lost = (inputs["retention"] == 0.0).any(axis=1)
    return {"weights": np.where(lost[:, :, None], np.nan, outputs["weights"])}


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


MEMORY_SEQUENCE = (
    Fault("mem-one-write-a-chunk", "MEM-2", SCAN, LOOP, computed(OneWriteAChunk)),
    Fault("mem-gates-of-the-first-token", "MEM-2", SCAN, LOOP, with_inputs(gates_of(lambda gate: gate[:, :1]))),
    Fault("mem-gates-averaged", "MEM-2", SCAN, LOOP, with_inputs(gates_of(lambda g: g.mean(axis=1, keepdims=True)))),
    Fault("mem-remainder-dropped", "MEM-2", SCAN, RANDOM, computed(RemainderDropped)),
    Fault("mem-state-of-the-call", "MEM-7", SCAN, SPLIT, with_inputs(_state_forgotten)),
    Fault("mem-reset-one-token-late", "MEM-5", SCAN, ANYWHERE, computed(ResetLate)),
    Fault("mem-initial-of-head-0", "MEM-5", SCAN, FRESH, with_inputs(_first_head)),
    Fault("mem-one-reset-for-all-rows", "MEM-8", CHUNKED, ROWS, with_inputs(_any_row)),
    Fault("mem-never-written", "MEM-9", SCAN, CAUSAL, with_inputs(_never_written)),
    Fault("mem-divided-by-retentions", "MEM-11", CHUNKED, ENDS, with_outputs(_divided_by_products)),
    Fault("chunk-anchored-at-the-start", "CHUNK-1", CHUNKED, ANCHOR, computed(AnchoredAtTheStart)),
    Fault("chunk-sums-counted-twice", "CHUNK-3", CHUNKED, NESTED, computed(CountedTwice)),
    Fault("chunk-mean-of-gradients", "CHUNK-3", SCAN, NESTED, computed(MeanOverChunk)),
    Fault("chunk-remainder-dropped", "CHUNK-5", CHUNKED, PARALLEL, computed(RemainderDropped)),
    Fault("win-strictly-past", "WIN-1", SCAN, WEIGHS, computed(StrictlyPast)),
    Fault("win-fading-by-age", "WIN-1", CHUNKED, WEIGHS, computed(FadingWindow)),
    Fault("win-gate-of-the-pair", "WIN-1", CHUNKED, WEIGHS, computed(GateOfThePair)),
    Fault("win-of-the-call", "WIN-3", CHUNKED, CARRY, with_inputs(_window_of_the_call)),
    Fault("win-mean-over-the-window", "WIN-5", CHUNKED, SUMS, computed(MeanOverWindow)),
    Fault("grad-values-detached", "GRAD-1", GRAD, TOKENS_GRAD, gradients_lost("values")),
    Fault("grad-queries-detached", "GRAD-1", GRAD, TOKENS_GRAD, gradients_lost("queries")),
    Fault("grad-writes-detached", "GRAD-2", GRAD, GATES_GRAD, gradients_lost(*GATES, "keys", "values", "initial")),
    Fault("grad-anchor-detached", "GRAD-3", GRAD, STATE_GRAD, gradients_lost("anchor")),
    Fault("grad-whole-state-detached", "GRAD-3", GRAD, STATE_GRAD, gradients_lost(*STATE[:-1])),
    Fault(
        "grad-quotient-of-products",
        "GRAD-4",
        GRAD,
        MASKED,
        with_outputs(_nan_if(_underflowing, "keys", "weights")),
    ),
    Fault("grad-reaches-later-queries", "GRAD-5", GRAD, PAST_GRAD, with_outputs(_by_later_tokens)),
    Fault("grad-of-a-polar-factor", "GRAD-6", GRAD, START_GRAD, with_outputs(_nan_if(_rank_one, "initial"))),
)

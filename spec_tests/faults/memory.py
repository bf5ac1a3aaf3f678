"""Faults of the memory over tokens: order, reads, documents, state, rows. Most are the loop with one method wrong."""

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    in_form,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.faults.sequence import averaged, forgotten
from spec_tests.oracle.memory import STATE, TOKENS, Cell, Matrices, Oracle, Token, gelu, identity_part, predict
from spec_tests.port import Array, Numerics, Op, Run

STEP, SCAN, CHUNKED = Op.MEMORY_STEP, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED


def computed(oracle: type[Oracle]) -> Wrap:
    """Build a fault that answers with a faulty loop; gradients, where asked for, stay those of the sound run."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            given = {
                name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in inputs.items()
            }
            if op == STEP:
                given |= {name: given[name][:, None] for name in TOKENS}
            answer = oracle(config).run(given)
            if op == STEP:
                answer["reads"] = answer["reads"][:, 0]
            asked = any(name.startswith("cotangent.") for name in inputs)
            sound = run(op, config, inputs, numerics=numerics, taps=taps) if asked else {}
            return {**sound, **in_form(op, answer, numerics)}

        return faulty

    return wrap


class AnchorLate(Oracle):
    def phase(self, cell: Cell) -> int:
        return (cell.position - 1) % self.chunk


class AnchorEarly(Oracle):
    def phase(self, cell: Cell) -> int:
        return (cell.position + 1) % self.chunk


class AnchorBeforeReset(Oracle):
    """Takes xi from the document before."""

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        left = [matrix.copy() for matrix in cell.weights]
        super().enter(cell, token, initial)
        if cell.position == 0:
            cell.anchor = left


class MomentumNotCarried(Oracle):
    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        cell.momentum = [0.0 * matrix for matrix in cell.momentum]
        super().write(cell, token, gradient)


class WithoutResidual(Oracle):
    def read(self, cell: Cell, token: Token) -> Array:
        missing = identity_part(token.query, len(cell.weights[0])) if self.architecture == "mlp" else 0.0
        return super().read(cell, token) - missing


class TanhGelu(Oracle):
    """Reads with the usual approximation of gelu."""

    def read(self, cell: Cell, token: Token) -> Array:
        if self.architecture == "matrix":
            return super().read(cell, token)
        z = cell.weights[1] @ token.query
        close = 0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3)))
        return np.asarray(super().read(cell, token) + cell.weights[0] @ (close - gelu(z)))


class ResetKeeps(Oracle):
    """A reset that forgets to reset one thing."""

    kept = ""

    def begin(self, cell: Cell, initial: Matrices) -> None:
        before = {name: getattr(cell, name) for name in ("weights", "momentum", "window", "position")}
        super().begin(cell, initial)
        if self.kept in before:
            setattr(cell, self.kept, before[self.kept])

    def ages(self, cell: Cell, token: Token) -> range:
        ages = range(len(token.gamma)) if self.kept == "window" else super().ages(cell, token)
        return ages[: len(cell.window)]

    def phase(self, cell: Cell) -> int:
        return 1 if self.kept == "anchor" and cell.position == 0 else super().phase(cell)


def keeping(what: str) -> type[Oracle]:
    """Return the loop whose reset keeps `what` of the document before."""
    return type(f"ResetKeeps{what}", (ResetKeeps,), {"kept": what})


class FreshRowTrusted(Oracle):
    """Only a mark begins a document: a row without tokens keeps whatever its state holds."""

    def begins(self, cell: Cell, token: Token) -> bool:
        return token.reset


class BatchMean(Oracle):
    """Writes the mean of the gradients of all rows."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        batch, time, heads, values = inputs["values"].shape
        outputs = {"reads": np.zeros((batch, time, heads, values))} | {name: np.array(inputs[name]) for name in STATE}
        for head in range(heads):
            cells = [self.load(inputs, row, head) for row in range(batch)]
            initial = self.matrices(inputs["initial"][head], inputs)
            for t in range(time):
                seen = [self.see(inputs, row, t, head) for row in range(batch)]
                self.together(cells, seen, initial)
                for row, cell in enumerate(cells):
                    outputs["reads"][row, t, head] = self.read(cell, seen[row])
            for row, cell in enumerate(cells):
                self.store(cell, outputs, row, head)
        return outputs

    def together(self, cells: list[Cell], seen: list[Token], initial: Matrices) -> None:
        for cell, token in zip(cells, seen, strict=True):
            self.enter(cell, token, initial)
        parts = [self.window_gradient(cell, token) for cell, token in zip(cells, seen, strict=True)]
        mean = [np.mean(matrices, axis=0) for matrices in zip(*parts, strict=True)]
        for cell, token in zip(cells, seen, strict=True):
            self.write(cell, token, mean)
            cell.window, cell.position = (
                cell.window[max(0, len(cell.window) - len(token.gamma) + 1) :],
                cell.position + 1,
            )


class LastState(Oracle):
    """Reads every token from the state after the call."""

    initial_only = False

    def run(self, inputs: Arrays) -> dict[str, Array]:
        outputs = super().run(inputs)
        for row, t, head in np.ndindex(outputs["reads"].shape[:3]):
            packed = inputs["initial"][head] if self.initial_only else outputs["weights"][row, head]
            outputs["reads"][row, t, head] = predict(
                self.architecture, self.matrices(packed, inputs), inputs["queries"][row, t, head]
            )
        return outputs


class NeverRead(LastState):
    """Reads M_0 for ever: passes every test of leaks."""

    initial_only = True


def _rounded(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: round_to_bf16(outputs[name]) for name in ("weights", "momentum")}


def _reversed(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: outputs[name][:, ::-1] for name in ("window_keys", "window_values")}


def _ticking(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Count a token in a call without one."""
    return {"position": outputs["position"] + (inputs["keys"].shape[1] == 0)}


def _floored(_: Config, inputs: Arrays) -> Arrays:
    return {"retention": np.maximum(inputs["retention"], 1e-3)}


ORDER = "test_memory_step:test_a_token_is_reset_then_anchored_then_written_then_read"
LOOP = "test_memory_scan:test_reads_and_last_state_are_those_of_the_loop"
VALUE = "test_memory_step:test_the_read_is_the_value_of_the_memory_that_is_returned"
GELU = "test_memory_step:test_gelu_is_not_an_approximation"
PRE = "test_memory_scan:test_reading_before_the_write_is_reading_the_token_before_after_its_write"
RESET = "test_memory_scan:test_a_reset_equals_a_fresh_start_whatever_came_before"
FRESH = "test_memory_scan:test_a_call_that_begins_a_document_finds_m_0_whatever_its_state_holds"
PAIRS = "test_memory_scan:test_the_state_holds_the_last_pairs_of_the_document_and_the_number_of_its_tokens"
SPLIT = "test_memory_scan:test_any_split_into_calls_agrees_and_an_empty_call_returns_its_state"
ROWS = "test_memory_scan:test_rows_are_independent_through_their_state_too"
CAUSAL = "test_memory_scan:test_a_read_depends_on_its_own_and_earlier_tokens_and_on_no_later_ones"
SMALL = "test_memory_scan:test_writes_below_the_precision_of_the_activations_add_up"
ENDS = "test_memory_scan:test_gates_at_and_near_their_ends_give_what_the_loop_gives"

MEMORY = (
    Fault("mem-anchor-moved-late", "MEM-1", STEP, ORDER, computed(AnchorLate)),
    Fault("mem-anchor-moved-early", "MEM-1", STEP, ORDER, computed(AnchorEarly)),
    Fault("mem-anchored-before-reset", "MEM-1", STEP, ORDER, computed(AnchorBeforeReset)),
    Fault("mem-momentum-not-carried", "MEM-2", SCAN, LOOP, computed(MomentumNotCarried)),
    Fault("mem-post-reads-before-the-write", "MEM-2", SCAN, LOOP, with_config(lambda _: {"read": "pre"})),
    Fault("mem-mlp-without-residual", "MEM-3", STEP, VALUE, computed(WithoutResidual)),
    Fault("mem-gelu-by-tanh", "MEM-3", STEP, GELU, computed(TanhGelu)),
    Fault("mem-pre-reads-after-the-write", "MEM-4", SCAN, PRE, with_config(lambda _: {"read": "post"})),
    *(
        Fault(f"mem-reset-keeps-{what}", "MEM-5", op, RESET, computed(keeping(what)))
        for what, op in (
            ("weights", SCAN),
            ("momentum", SCAN),
            ("window", CHUNKED),
            ("position", CHUNKED),
            ("anchor", CHUNKED),
        )
    ),
    Fault("mem-fresh-row-trusted", "MEM-5", CHUNKED, FRESH, computed(FreshRowTrusted)),
    Fault("mem-window-newest-first", "MEM-6", SCAN, PAIRS, with_outputs(_reversed)),
    Fault(
        "mem-position-off-by-one", "MEM-6", CHUNKED, PAIRS, with_outputs(lambda *a: {"position": a[2]["position"] - 1})
    ),
    Fault("mem-window-dropped-between-calls", "MEM-7", SCAN, SPLIT, forgotten("window_keys")),
    Fault("mem-momentum-dropped-between-calls", "MEM-7", CHUNKED, SPLIT, forgotten("momentum")),
    Fault(
        "mem-anchor-of-the-call", "MEM-7", CHUNKED, SPLIT, with_inputs(lambda _, inputs: {"anchor": inputs["weights"]})
    ),
    Fault("mem-empty-call-counts", "MEM-7", SCAN, SPLIT, with_outputs(_ticking)),
    Fault("mem-state-averaged", "MEM-8", SCAN, ROWS, averaged("momentum")),
    Fault("mem-gradient-averaged", "MEM-8", CHUNKED, ROWS, computed(BatchMean)),
    Fault("mem-reads-of-the-last-state", "MEM-9", CHUNKED, CAUSAL, computed(LastState)),
    Fault("mem-never-read", "MEM-9", SCAN, CAUSAL, computed(NeverRead)),
    Fault("mem-state-in-bfloat16", "MEM-10", SCAN, SMALL, with_outputs(_rounded)),
    Fault("mem-retention-floored", "MEM-11", SCAN, ENDS, with_inputs(_floored)),
)

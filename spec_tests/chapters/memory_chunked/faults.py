"""Faults of chunks and of the parallel form."""

from typing import Final

from spec_tests.chapters.memory_scan.wrong_scans import RemainderDropped
from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Oracle, Token
from spec_tests.chapters.memory_step.wrong_turns import AnchorLate, computed
from spec_tests.chapters.memory_step.wrong_writes import RetentionAfterWrite
from spec_tests.faults.fault import Fault, gradients_lost, with_config, with_inputs
from spec_tests.port import Array, Op

CHUNKED: Final = Op.MEMORY_CHUNKED
SCAN: Final = Op.MEMORY_SCAN


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


ANCHOR: Final = "test_memory_chunked:test_gradients_are_taken_at_the_memory_before_the_first_token_of_the_chunk"
PHASE: Final = "test_memory_chunked:test_chunks_are_counted_from_the_start_of_the_document"
NESTED: Final = "test_memory_chunked:test_inside_a_chunk_the_linear_rules_are_nested_sums"
ONE: Final = "test_memory_chunked:test_a_chunk_of_one_token_takes_gradients_at_the_memory_just_written"
PARALLEL: Final = "test_memory_chunked:test_the_parallel_form_is_the_loop"
EQUALS: Final = "test_memory_chunked:test_the_parallel_form_equals_the_recurrence_in_outputs_splits_and_gradients"


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


MERE_SCHEDULE = "misreading: the chunk as a mere schedule"
OTHER_PHASE = "porting: phases of the call or of the first row"
INDEX_OF_XI = "misreading: the anchor xi and indices that begin at one"


class ErrorAtTheRetained(Oracle):
    """The error of what is left of the memory after this token's retention, as in Gated DeltaNet."""

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        kept = [token.retention * matrix for matrix in cell.anchor]
        return super().window_gradient(Cell(cell.weights, cell.momentum, kept, cell.window, cell.position), token)


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("chunk-current-state", "CHUNK-1a", CHUNKED, ANCHOR, computed(CurrentState), MERE_SCHEDULE),
    Fault("chunk-length-ignored", "CHUNK-1b", SCAN, ANCHOR, with_config(lambda _: {"chunk": 1}), MERE_SCHEDULE),
    Fault("chunk-phase-of-the-call", "CHUNK-2a", CHUNKED, PHASE, computed(PhaseOfTheCall), OTHER_PHASE),
    Fault("chunk-phase-of-row-0", "CHUNK-2b", CHUNKED, PHASE, computed(PhaseOfRowZero), OTHER_PHASE),
    Fault(
        "chunk-carried-momentum-undecayed",
        "CHUNK-3b",
        CHUNKED,
        NESTED,
        computed(CarriedUndecayed),
        "porting: state that is not handed on, or only that of one call",
    ),
    Fault(
        "chunk-of-two",
        "CHUNK-4a",
        SCAN,
        ONE,
        with_config(lambda config: {"chunk": int(config["chunk"]) + 1}),
        INDEX_OF_XI,
    ),
    Fault("chunk-anchor-late", "CHUNK-5b", CHUNKED, PARALLEL, computed(AnchorLate), INDEX_OF_XI),
    Fault(
        "chunk-anchor-of-the-call",
        "CHUNK-5d",
        CHUNKED,
        PARALLEL,
        with_inputs(lambda _, inputs: {"anchor": inputs["weights"]}),
        "porting: the anchor of the call for that of the chunk",
    ),
    Fault("chunk-phase-lost-in-splits", "CHUNK-5d", CHUNKED, EQUALS, computed(PhaseOfTheCall), OTHER_PHASE),
    Fault(
        "chunk-detached-in-the-carry",
        "CHUNK-6",
        CHUNKED,
        EQUALS,
        gradients_lost("weights"),
        "source: detached writes: keys, values and gates learn nothing from the memory",
    ),
    Fault(
        "chunk-anchor-detached",
        "CHUNK-6",
        CHUNKED,
        EQUALS,
        gradients_lost("anchor"),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault(
        "chunk-anchored-at-the-start",
        "CHUNK-1a",
        CHUNKED,
        ANCHOR,
        computed(AnchoredAtTheStart),
        "misreading: M_0 printed for the state at xi",
    ),
    Fault(
        "chunk-sums-counted-twice",
        "CHUNK-3b",
        CHUNKED,
        NESTED,
        computed(CountedTwice),
        "misreading: Eq. 6 of TNT as printed counts the chunk's sums twice",
    ),
    Fault(
        "chunk-mean-of-gradients",
        "CHUNK-3b",
        SCAN,
        NESTED,
        computed(MeanOverChunk),
        "source: gradients as a mean over values, window or chunk",
    ),
    Fault(
        "chunk-remainder-dropped",
        "CHUNK-5a",
        CHUNKED,
        PARALLEL,
        computed(RemainderDropped),
        "porting: tokens after the last whole chunk are forgotten",
    ),
    Fault("chunk-cut-at-the-end-of-a-call", "CHUNK-2c", CHUNKED, PHASE, computed(RemainderDropped), OTHER_PHASE),
    Fault("chunk-retention-on-the-writes", "CHUNK-3a", CHUNKED, NESTED, computed(RetentionAfterWrite), INDEX_OF_XI),
    Fault(
        "chunk-error-at-the-retained",
        "CHUNK-4b",
        CHUNKED,
        ONE,
        computed(ErrorAtTheRetained),
        "misreading: the error of delta before or after retention",
    ),
    Fault("chunk-one-phase-in-parallel", "CHUNK-5c", CHUNKED, PARALLEL, computed(PhaseOfRowZero), OTHER_PHASE),
)

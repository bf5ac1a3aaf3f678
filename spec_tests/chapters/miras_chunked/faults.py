"""Faults of the parallel form with the axes of MIRAS."""

from typing import Final

from spec_tests.chapters.link.wrong_links import LogitsAsTheyGrew, ReadsTheDual
from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Token
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.chapters.miras_scan.loop import Miras
from spec_tests.chapters.miras_scan.wrong_axes import FirstGate, NormOutsideTheBracket
from spec_tests.faults.fault import Fault, forgotten, gradients_lost, multiplied
from spec_tests.port import Op

CHUNKED: Final = Op.MIRAS_CHUNKED
LOOP: Final = "test_miras_chunked:test_the_parallel_form_is_the_loop_for_every_two_values"
EQUAL: Final = "test_miras_chunked:test_gradients_of_the_parallel_form_are_those_of_the_recurrence"
SPLIT: Final = "test_miras_scan_documents:test_any_split_into_calls_agrees_under_every_axis"
SLOPES: Final = "test_miras_scan_documents:test_derivatives_are_those_of_the_loop_under_every_axis"

DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
UNLINKED: Final = "porting: a form that knows the link in some places only"


class PhaseOfTheCall(Miras):
    """Chunks counted from the start of the call."""

    entered = 0

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        cell = super().load(inputs, row, head)
        self.entered = cell.position
        return cell

    def begin(self, cell: Cell, initial: Matrices) -> None:
        super().begin(cell, initial)
        self.entered = 0

    def phase(self, cell: Cell) -> int:
        return (cell.position - self.entered) % self.chunk


class ShrunkOnceAChunk(Miras):
    """A proximal step at the end of each chunk only."""

    last = False

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        self.last = self.phase(cell) == self.chunk - 1
        super().write(cell, token, gradient)

    def shrinkage(self, token: Token) -> float:
        return super().shrinkage(token) if self.last else 0.0


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("parallel-reads-the-dual", "RULE-20a", CHUNKED, LOOP, computed(ReadsTheDual), UNLINKED),
    Fault("parallel-logits-of-the-chunk", "RULE-20b", CHUNKED, LOOP, computed(LogitsAsTheyGrew), UNLINKED),
    Fault(
        "parallel-first-gate-for-all",
        "RULE-20c",
        CHUNKED,
        LOOP,
        computed(FirstGate),
        "porting: one row or head for all",
    ),
    Fault(
        "parallel-norm-outside-the-bracket",
        "RULE-20c",
        CHUNKED,
        LOOP,
        computed(NormOutsideTheBracket),
        "source: the slope of a normalisation without its mean terms, or with them outside the bracket",
    ),
    Fault(
        "parallel-phase-of-the-call",
        "RULE-20d",
        CHUNKED,
        SPLIT,
        computed(PhaseOfTheCall),
        "porting: phases of the call or of the first row",
    ),
    Fault(
        "parallel-proximal-once-a-chunk",
        "RULE-20e",
        CHUNKED,
        LOOP,
        computed(ShrunkOnceAChunk),
        "misreading: the elastic net as a link or as a proximal step",
    ),
    Fault("parallel-momentum-dropped", "RULE-20d", CHUNKED, SPLIT, forgotten("momentum"), NOT_HANDED_ON),
    Fault("parallel-anchor-detached", "RULE-21", CHUNKED, EQUAL, gradients_lost("anchor"), DERIVATIVE),
    Fault("parallel-threshold-detached", "RULE-21", CHUNKED, SLOPES, gradients_lost("threshold"), DERIVATIVE),
    *multiplied("parallel", CHUNKED, "MEM-5c", "test_miras_scan_sight", "weights", "window_keys"),
)

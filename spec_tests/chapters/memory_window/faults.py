"""Faults of the window."""

from typing import Final

from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Oracle, Token
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.faults.fault import Arrays, Config, Fault, multiplied, with_config, with_inputs
from spec_tests.port import Array, Op


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


WEIGHS: Final = "test_memory_window:test_a_pair_weighs_what_the_gate_of_the_writing_token_says_at_its_age"
DEAD: Final = "test_memory_window:test_tokens_that_the_document_does_not_have_never_count"
CARRY: Final = "test_memory_window:test_a_carried_window_reaches_over_borders_and_is_evaluated_at_the_new_anchor"
TRUNCATE: Final = "test_memory_window:test_a_truncated_window_stops_at_the_start_of_the_chunk"
BEFORE: Final = "test_memory_window_at_the_edges:test_pairs_of_the_document_before_never_count"
SUMS: Final = "test_memory_window:test_literal_weights_add_up_and_ages_of_weight_zero_do_not_count"
CHUNKED: Final = Op.MEMORY_CHUNKED
SCAN: Final = Op.MEMORY_SCAN


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


def _window_of_the_call(_: Config, inputs: Arrays) -> Arrays:
    return {name: 0.0 * inputs[name] for name in ("window_keys", "window_values")}


GAMMA_BY = "misreading: gamma by age, by position or by pair"
WINDOW_START = "misreading: the window at the start of a chunk or document"
MEAN_OF_GRADIENTS = "source: gradients as a mean over values, window or chunk"


class DeadInTheState(DeadPlacesCount):
    """Only what came with the call is read to its full length."""

    def begin(self, cell: Cell, initial: Matrices) -> None:
        super().begin(cell, initial)
        cell.window = []


class OfAnotherDocument(DeadPlacesCount):
    """Only a reset leaves the window as it is."""

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        return Oracle.load(self, inputs, row, head)


class NeverZero(Oracle):
    """Weights by a softplus or sigmoid that never reaches zero."""

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return max(super().gamma(cell, token, age), 0.02)


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("win-gamma-reversed", "WIN-1b", SCAN, WEIGHS, computed(GammaReversed), GAMMA_BY),
    Fault("win-gamma-by-position", "WIN-1b", CHUNKED, WEIGHS, computed(GammaByPosition), GAMMA_BY),
    Fault("win-gamma-late", "WIN-1b", CHUNKED, WEIGHS, computed(GammaLate), GAMMA_BY),
    Fault("win-dead-places-count", "WIN-2", CHUNKED, DEAD, computed(DeadPlacesCount), WINDOW_START),
    Fault(
        "win-truncated-under-carry",
        "WIN-3a",
        CHUNKED,
        CARRY,
        with_config(lambda _: {"boundary": "truncate"}),
        WINDOW_START,
    ),
    Fault("win-old-anchor", "WIN-3c", SCAN, CARRY, computed(OldAnchor), WINDOW_START),
    Fault(
        "win-carried-under-truncate",
        "WIN-4",
        CHUNKED,
        TRUNCATE,
        with_config(lambda _: {"boundary": "carry"}),
        WINDOW_START,
    ),
    Fault("win-gamma-normalised", "WIN-5a", SCAN, SUMS, computed(GammaNormalised), MEAN_OF_GRADIENTS),
    Fault("win-strictly-past", "WIN-1b", SCAN, WEIGHS, computed(StrictlyPast), GAMMA_BY),
    Fault(
        "win-fading-by-age",
        "WIN-1b",
        CHUNKED,
        WEIGHS,
        computed(FadingWindow),
        "source: window weights that fade by age whatever the gates say",
    ),
    Fault("win-gate-of-the-pair", "WIN-1a", CHUNKED, WEIGHS, computed(GateOfThePair), GAMMA_BY),
    Fault("win-of-the-call", "WIN-3b", CHUNKED, CARRY, with_inputs(_window_of_the_call), WINDOW_START),
    Fault("win-mean-over-the-window", "WIN-5a", CHUNKED, SUMS, computed(MeanOverWindow), MEAN_OF_GRADIENTS),
    Fault("win-dead-places-of-the-state-count", "WIN-2a", SCAN, DEAD, computed(DeadInTheState), WINDOW_START),
    Fault("win-pairs-of-another-document-count", "WIN-2b", SCAN, BEFORE, computed(OfAnotherDocument), WINDOW_START),
    Fault("win-weight-never-zero", "WIN-5b", SCAN, SUMS, computed(NeverZero), GAMMA_BY),
    *multiplied(
        "window", Op.MEMORY_CHUNKED, "WIN-2b", "test_memory_window_sight", "keys", "values", "weights", "window_keys"
    ),
)

"""The loop of the schedule with one method done wrongly in each class."""

from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Oracle, Token
from spec_tests.chapters.schedule.oracle import Scheduled, Waiting
from spec_tests.port import Array


class OneTokenLate(Scheduled):
    """Writes with the first token of the next stretch."""

    def ends(self, cell: Cell) -> bool:
        return cell.position % self.every == 0


class CountOfTheCall(Scheduled):
    """Counts tokens from the call."""

    count = 0

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.count = 0
        return super().load(inputs, row, head)

    def ends(self, cell: Cell) -> bool:
        self.count += 1
        return self.count % self.every == 0


class DecaysBetween(Scheduled):
    """Retention acts at tokens that write nothing."""

    def gammas(self, cell: Cell, token: Token) -> list[float]:
        if not self.ends(cell):
            cell.weights = [token.retention * matrix for matrix in cell.weights]
        return super().gammas(cell, token)


class LastLossAlone(Scheduled):
    """Writes the loss of the writing token and forgets the others."""

    def write_all(self, cell: Waiting, token: Token) -> None:
        cell.waiting = cell.waiting[-1:]
        super().write_all(cell, token)


class OwnAnchors(Scheduled):
    """Takes the gradients of a loss at the anchor of its own token."""

    anchors: tuple[Matrices, ...] = ()

    def gammas(self, cell: Cell, token: Token) -> list[float]:
        self.anchors = (*self.anchors, cell.anchor)[-self.every :]
        return super().gammas(cell, token)

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        now, cell.anchor = cell.anchor, self.anchors[0]
        gradient = super().pair_gradient(cell, key, value)
        cell.anchor = now
        return gradient


class GatesBefore(Scheduled):
    """Writes with the gates of the token before."""

    before: Token | None = None

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, self.before or token, gradient)

    def gammas(self, cell: Cell, token: Token) -> list[float]:
        found = super().gammas(cell, token)
        if not self.ends(cell):
            self.before = token
        return found


class HorizonOfWrites(Scheduled):
    """Counts the horizon of the momentum in writes."""

    def horizon(self) -> float:
        return Oracle.horizon(self)


class SilentLossesWait(Scheduled):
    """Keeps the losses of tokens that write nothing for a later write."""

    def gammas(self, cell: Cell, token: Token) -> list[float]:
        return [self.gamma(cell, token, age) for age in self.ages(cell, token)] + [0.0] * (
            len(token.gamma) - len(self.ages(cell, token))
        )


class SilentBorders(Scheduled):
    """Crosses no border where nothing is written."""

    def cross(self, cell: Cell, initial: Matrices) -> None:
        if self.config["writes"]:
            super().cross(cell, initial)


class MemoryGoesOn(Scheduled):
    """M goes on at a border."""

    def cross(self, cell: Cell, initial: Matrices) -> None:
        super().cross(cell, cell.weights)


class MomentumBegins(Scheduled):
    """S begins anew at a border."""

    def cross(self, cell: Cell, initial: Matrices) -> None:
        super().cross(cell, initial)
        cell.momentum = [0.0 * matrix for matrix in cell.momentum]


class WindowBegins(Scheduled):
    """The window and the losses that wait begin anew at a border."""

    def cross(self, cell: Cell, initial: Matrices) -> None:
        assert isinstance(cell, Waiting)
        super().cross(cell, initial)
        cell.waiting = [[0.0 * weight for weight in weights] for weights in cell.waiting]


class OneCrossingMore(Scheduled):
    """Counts the border that is crossed among those behind it."""

    def crossings(self, position: int) -> int:
        return position // self.shard


class CrossingsOfTheCall(Scheduled):
    """Counts borders from the call."""

    first = 0

    def answer(self, inputs: Inputs) -> dict[str, Array]:
        self.first = int(inputs["position"].max())
        return dict(super().answer(inputs))

    def crossings(self, position: int) -> int:
        return max(0, super().crossings(position) - self.first // self.shard)


class ProjectionBegins(Scheduled):
    """Pi begins anew at a border."""

    def summed_from(self, pi: Array, position: int) -> Array:
        found = super().summed_from(pi, position)
        return 0.0 * found if self.crosses(position) and self.config["projection_span"] == "shard" else found


class DocumentsMixed(Scheduled):
    """Pi of a document is mixed at the borders of shards."""

    def summed_from(self, pi: Array, position: int) -> Array:
        found = super().summed_from(pi, position)
        mixed = self.crosses(position) and self.config["projection_span"] == "document"
        return self.rate(position) * found if mixed else found

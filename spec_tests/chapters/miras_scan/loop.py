"""The memory with the axes of MIRAS, a literal loop: what docs/spec/miras_scan.md adds to the loop of chapter MEM.

The state is a dual A; what is read, and where gradients are taken, is W = link(A).

    write:  g = sum_a gamma[a] 2 loss_scale J(W_xi; k_{t-a})^T psi(W_xi; k_{t-a}, v_{t-a}),
            S <- theta S + intake g,  A <- alpha o A + release U(S)

`Miras` is cut into small methods, so that a seeded fault is one method done wrongly.
"""

from dataclasses import dataclass, replace

import numpy as np

from spec_tests.chapters.bias.error_maps import Pair, curvature_factor, error_map, numbers
from spec_tests.chapters.link.links import canonical, linked, shrunk
from spec_tests.chapters.memory_step.loop import GATES, Cell, Inputs, Matrices, Oracle, Token, gelu, gelu_slope
from spec_tests.chapters.memory_step.traced import Traced
from spec_tests.chapters.miras_scan.architectures import (
    NORMALISED,
    before_norm,
    deviation,
    predicted,
    taken_back,
    unpacked,
)
from spec_tests.port import Array


@dataclass(frozen=True)
class Writer(Token):
    """What one row and head sees at one time: `gate` is the retention of every row or column, or one number."""

    gate: Array
    threshold: float


class Miras(Oracle):
    """The memory of one configuration."""

    writer: Writer

    def see(self, inputs: Inputs, row: int, t: int, head: int) -> Writer:
        """Return one token of one head."""
        key, value, query = (inputs[name][row, t, head] for name in ("keys", "values", "queries"))
        gate, decay, step, gamma = (inputs[name][row, t, head] for name in GATES)
        reset, threshold = bool(inputs["reset"][row, t]), inputs["threshold"][row, t, head]
        return Writer(key, value, query, gate[0], decay, step, gamma, reset, gate, threshold)

    def matrices(self, packed: Array, inputs: Inputs) -> Matrices:
        """Return the matrices of one row and head."""
        return unpacked(self.architecture, packed, inputs["keys"].shape[-1], inputs["values"].shape[-1])

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        """RESET and ANCHOR; the anchor stands for all that have the same W."""
        super().enter(cell, token, initial)
        cell.anchor = self.settled(cell.anchor)

    def settled(self, dual: Matrices) -> Matrices:
        """Return the canonical state."""
        return [canonical(self.config, matrix, self.sums) for matrix in dual]

    def linked(self, dual: Matrices) -> Matrices:
        """Return W."""
        return [linked(self.config, matrix, self.sums) for matrix in dual]

    def value(self, weights: Matrices, x: Array) -> Array:
        """Return P(x) for given W."""
        return predicted(self.architecture, weights, x, self.sums)

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        """Take one token and return what it reads: of its memory, or of the one that its chunk began with."""
        read = super().token(cell, token, initial)
        return self.read(replace(cell, weights=cell.anchor), token) if self.config["read"] == "anchor" else read

    def read(self, cell: Cell, token: Token) -> Array:
        """READ."""
        return self.value(self.linked(cell.weights), token.query)

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        """Return what retention leaves of A: one number, or a gate a row or a column."""
        assert isinstance(token, Writer)
        gate = token.gate[:, None] if self.config["gate_axis"] == "rows" else token.gate
        return [gate * matrix for matrix in weights]

    def seen(self, cell: Cell, token: Token) -> Matrices:
        """Return the W at which gradients are taken."""
        if self.config["error_at"] == "retained" or self.implicit:
            return self.retained(cell.anchor, token)
        return self.linked(cell.anchor)

    @property
    def implicit(self) -> bool:
        """Whether the write minimises instead of taking a step."""
        return self.config["algorithm"] == "implicit"

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        """Return g, the gradients in W."""
        assert isinstance(token, Writer)
        self.writer = token
        return super().window_gradient(replace(cell, anchor=self.seen(cell, token)), token)

    def pair(self, prediction: Array, value: Array) -> Pair:
        """Return what the bias looks at: the threshold is that of the writing token."""
        return Pair(prediction, value, self.writer.threshold, *numbers(self.config), self.sums)

    def error(self, cell: Cell, key: Array, value: Array) -> Array:
        """Return psi at the anchor; with `mass` divided by max(1, kappa)."""
        scale = 2.0 * float(self.config["loss_scale"])
        if self.mass and (curvature := self.curvature(cell.anchor, key, value)).real > 1.0:
            scale = scale / curvature
        return np.asarray(scale * self.psi(self.pair(self.value(cell.anchor, key), value)))

    def psi(self, pair: Pair) -> Array:
        """Return the error map at loss_scale 1/2."""
        return error_map(str(self.config["bias"]), pair)

    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        """Return kappa times the factor of the bias."""
        prediction = self.value(weights, key)
        factor: float = curvature_factor(str(self.config["bias"]), self.pair(prediction, value)).item()
        if self.architecture not in NORMALISED:
            return factor * super().curvature(weights, key, value)
        return factor * self.behind_norm(weights, key, prediction - value)

    def behind_norm(self, weights: Matrices, key: Array, error: Array) -> float:
        """Return kappa where LN stands before the error."""
        length, miss = self.sums.norm(key), self.sums.norm(error)
        deep, outer = len(weights) > 1, weights[0]
        squares, turning = length * length, 1.13 * length * miss if deep else 0.0
        if deep:
            z, columns = self.sums.matvec(weights[1], key), self.sums.total(outer * outer, axis=0)
            slope, hidden = gelu_slope(z), gelu(z)
            squares = self.sums.dot(hidden, hidden) + squares * self.sums.dot(slope * slope, columns)
        spread = deviation(before_norm(weights, key, self.sums), self.sums)
        bend = 1.0 + 2.0 / np.sqrt(3.0) * miss / np.sqrt(len(outer))
        kappa: float = np.asarray(squares * bend / spread**2 + turning / spread).item()
        return kappa

    def back(self, anchor: Matrices, key: Array, error: Array) -> Matrices:
        """Return the gradient of <error, P(k)> in every matrix of W."""
        return taken_back(self.architecture, anchor, key, error, self.sums)

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        """Return the weight of a pair; an implicit step goes down the gradient at the memory that it leaves."""
        weight = super().gamma(cell, token, age)
        return weight / self.damping(token) if self.implicit else weight

    def damping(self, token: Token) -> float:
        """Return how much smaller the error is that an implicit step leaves: one plus its curvature along the key."""
        scale = 2.0 * float(self.config["loss_scale"]) * token.gamma[0]
        damped: float = 1.0 + scale * token.step * self.sums.dot(token.key, token.key)
        return damped

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        """WRITE: both recurrences, and what the retention does besides."""
        super().write(cell, token, gradient)
        if self.config["retention"] == "proximal_elastic":
            cell.weights = [shrunk(matrix, self.shrinkage(token)) for matrix in cell.weights]
        cell.weights = self.settled(cell.weights)

    def shrinkage(self, token: Token) -> float:
        """Return by how much a proximal step shrinks."""
        horizon = self.chunk + self.horizon() if self.mass else 1.0
        return float(self.config["level"]) * token.step / horizon


class TracedMiras(Traced, Miras):
    """The loop, recording g, S and A of every row, head and token."""

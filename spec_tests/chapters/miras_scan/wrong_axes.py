"""Axes of MIRAS done wrongly: the loop with one method changed."""

from dataclasses import replace

import numpy as np

from spec_tests.chapters.bias.error_maps import Pair
from spec_tests.chapters.link.links import shrunk
from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Token, identity_part, outer_product, pack
from spec_tests.chapters.miras_scan.architectures import NORMALISED, before_norm, deviation, standardised, taken_back
from spec_tests.chapters.miras_scan.loop import Miras, Writer
from spec_tests.port import Array


class RetainedForPrevious(Miras):
    """The error of what retention leaves, where `previous` is asked."""

    def seen(self, cell: Cell, token: Token) -> Matrices:
        return self.linked(self.retained(cell.anchor, token))


class PreviousForRetained(Miras):
    """The error of the memory before retention, where `retained` is asked: Titans for Gated DeltaNet."""

    def seen(self, cell: Cell, token: Token) -> Matrices:
        return super().seen(cell, token) if self.implicit else self.linked(cell.anchor)


class ImplicitWithoutStep(Miras):
    """The denominator 1 + ||k||^2, without the step."""

    def damping(self, token: Token) -> float:
        return (super().damping(token) - 1.0) / max(token.step, 1e-30) + 1.0


class ImplicitAsAStep(Miras):
    """A plain step of gradient descent."""

    def damping(self, token: Token) -> float:
        return 1.0


class ImplicitAtTheStart(Miras):
    """The gradient that is returned is that of the memory before the step."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        if self.implicit:
            cell.momentum = [self.damping(token) * part for part in cell.momentum]


class ImplicitDiagonal(Miras):
    """The approximation that Longhorn ships: each column by its own entry of the key."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        if not self.implicit:
            super().write(cell, token, gradient)
            return
        scale = 2.0 * float(self.config["loss_scale"]) * token.gamma[0] * token.step
        share = scale / (1.0 + scale * self.sums.dot(token.key, token.key))
        kept = self.retained(cell.weights, token)[0]
        cell.weights = [kept * (1.0 - share * token.key**2) + share * outer_product(token.value, token.key)]
        cell.momentum = gradient


class RowsForColumns(Miras):
    """A gate a row where one a column is asked, as far as there are rows."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        assert isinstance(token, Writer)
        if self.config["gate_axis"] != "columns":
            return super().retained(weights, token)
        return [np.resize(token.gate, len(matrix))[:, None] * matrix for matrix in weights]


class ColumnsForRows(Miras):
    """A gate a column where one a row is asked."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        assert isinstance(token, Writer)
        if self.config["gate_axis"] != "rows":
            return super().retained(weights, token)
        return [np.resize(token.gate, matrix.shape[1]) * matrix for matrix in weights]


class FirstGate(Miras):
    """The first gate for all rows or columns."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        return [token.retention * matrix for matrix in weights]


class OuterMatrixKept(Miras):
    """Retention of the first matrix only."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        return [*super().retained(weights[:1], token), *weights[1:]]


class Affine(Miras):
    """An error that is not zero where the memory is right."""

    def psi(self, pair: Pair) -> Array:
        return np.asarray(super().psi(pair) + 0.05)


class SaturatedValues(Miras):
    """Values through a function that is nearly linear."""

    def error(self, cell: Cell, key: Array, value: Array) -> Array:
        return super().error(cell, key, np.asarray(value + 0.1 * value * value))


class ProximalAsLink(Miras):
    """The threshold inside the read alone: the state is not shrunk, as in FTRL."""

    def read(self, cell: Cell, token: Token) -> Array:
        if self.config["retention"] != "proximal_elastic":
            return super().read(cell, token)
        level = super().shrinkage(token)
        return self.value([shrunk(matrix, level) for matrix in cell.weights], token.query)

    def shrinkage(self, token: Token) -> float:
        return 0.0


class ProximalWithoutStep(Miras):
    """Shrunk by the level itself, whatever the step."""

    def shrinkage(self, token: Token) -> float:
        return float(self.config["level"])


class WithoutIdentity(Miras):
    """No residual where there is a normalisation."""

    def value(self, weights: Matrices, x: Array) -> Array:
        missing = identity_part(x, len(weights[0])) if self.architecture in NORMALISED else 0.0
        return np.asarray(super().value(weights, x) - missing)


class IdentityNormalised(Miras):
    """The residual inside the normalisation: LN(I x + z)."""

    def value(self, weights: Matrices, x: Array) -> Array:
        if self.architecture != "mlp_norm":
            return super().value(weights, x)
        return standardised(identity_part(x, len(weights[0])) + before_norm(weights, x, self.sums), self.sums)


class GateOutside(Miras):
    """gelu of the product instead of the product with gelu."""

    def value(self, weights: Matrices, x: Array) -> Array:
        return (
            super().value([weights[0], weights[2], weights[1]], x) if len(weights) == 3 else super().value(weights, x)
        )


class RootMeanSquare(Miras):
    """A normalisation that does not take the mean away."""

    def value(self, weights: Matrices, x: Array) -> Array:
        if self.architecture not in NORMALISED:
            return super().value(weights, x)
        z = before_norm(weights, x, self.sums)
        return np.asarray(identity_part(x, len(z)) + z / np.sqrt((z * z).mean() + 1e-6))


class NormOutsideTheBracket(Miras):
    """r/sd - mean(r) - z^ mean(r z^): the mean terms outside the bracket, as a public reference has them."""

    def back(self, anchor: Matrices, key: Array, error: Array) -> Matrices:
        if self.architecture not in NORMALISED:
            return super().back(anchor, key, error)
        z = before_norm(anchor, key, self.sums)
        unit = standardised(z, self.sums)
        wrong = error / deviation(z, self.sums) - error.mean() - unit * (error * unit).mean()
        plain = {"linear_norm": "matrix", "mlp_norm": "mlp"}[self.architecture]
        return taken_back(plain, anchor, key, np.asarray(wrong), self.sums)


class NormWithoutSlope(Miras):
    """The error goes back through the normalisation as if it were the identity."""

    def back(self, anchor: Matrices, key: Array, error: Array) -> Matrices:
        plain = {"linear_norm": "matrix", "mlp_norm": "mlp"}.get(self.architecture, self.architecture)
        return taken_back(plain, anchor, key, error, self.sums)


class GateMatrixFirst(Miras):
    """W3 packed before W2."""

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        super().store(cell, outputs, row, head)
        if self.architecture == "mlp_glu":
            first, second, third = cell.weights
            outputs["weights"][row, head] = pack([first, third, second])


class ResetKeepsTheDual(Miras):
    """A reset that restores the window and the momentum only."""

    def begin(self, cell: Cell, initial: Matrices) -> None:
        kept = cell.weights
        super().begin(cell, initial)
        cell.weights = kept


class PreviousForAnchor(Miras):
    """The memory before the token's own write, where that of the chunk's start is asked."""

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        before = replace(
            cell, weights=[matrix.copy() for matrix in (initial if self.begins(cell, token) else cell.weights)]
        )
        read = super().token(cell, token, initial)
        return self.read(before, token) if self.config["read"] == "anchor" else read


class AnchorOfTheCall(Miras):
    """Reads in the middle of a chunk see the memory that the call began with."""

    entered: Matrices

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        cell = super().load(inputs, row, head)
        self.entered = cell.weights
        return cell

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        read = super().token(cell, token, initial)
        if self.phase(cell) == 1 or self.chunk == 1:
            self.entered = cell.anchor
        return self.read(replace(cell, weights=self.entered), token) if self.config["read"] == "anchor" else read


class AnchorAfterReset(Miras):
    """The first chunk of a document reads the anchor of the document before it."""

    left: Matrices

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        if self.begins(cell, token):
            self.left = cell.anchor
        read = super().token(cell, token, initial)
        first = self.config["read"] == "anchor" and cell.position <= self.chunk and hasattr(self, "left")
        return self.read(replace(cell, weights=self.left), token) if first else read


class AnchorDual(Miras):
    """The anchor read without its link."""

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        read = super().token(cell, token, initial)
        return self.value(cell.anchor, token.query) if self.config["read"] == "anchor" else read


class CurvatureWithoutDeviation(Miras):
    """The curvature in front of the LayerNorm, for that behind it."""

    def behind_norm(self, weights: Matrices, key: Array, error: Array) -> float:
        spread = deviation(before_norm(weights, key, self.sums), self.sums).item()
        found: float = super().behind_norm(weights, key, error) * spread**2
        return found


class CurvatureOfSmallErrors(Miras):
    """The Gauss-Newton part alone, as if errors were small."""

    def behind_norm(self, weights: Matrices, key: Array, error: Array) -> float:
        return super().behind_norm(weights, key, 0.0 * error)


class CurvatureOfTheMemory(Miras):
    """The curvature at the present memory instead of at xi."""

    present: Matrices

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        self.present = self.linked(cell.weights)
        return super().window_gradient(cell, token)

    def behind_norm(self, weights: Matrices, key: Array, error: Array) -> float:
        return super().behind_norm(self.present, key, error)


class LastStateRead(Miras):
    """Reads every token from the memory after the call."""

    def run(self, inputs: Inputs) -> dict[str, Array]:
        outputs = super().run(inputs)
        for row, t, head in np.ndindex(outputs["reads"].shape[:3]):
            memory = self.linked(self.matrices(outputs["weights"][row, head], inputs))
            outputs["reads"][row, t, head] = self.value(memory, inputs["queries"][row, t, head])
        return outputs

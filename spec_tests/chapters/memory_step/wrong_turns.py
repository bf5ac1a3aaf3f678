"""Turns of the memory done wrongly: the loop with one method changed, and the fault made from it."""

from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.loop import (
    TOKENS,
    Cell,
    Inputs,
    Matrices,
    Oracle,
    Token,
    gelu,
    identity_part,
    pack,
)
from spec_tests.faults.fault import Arrays, Config, Wrap, in_form
from spec_tests.port import Array, Numerics, Op, Run

STEP: Final = Op.MEMORY_STEP


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


class ByColumns(Oracle):
    """Matrices packed column by column."""

    def matrices(self, packed: Array, inputs: Inputs) -> Matrices:
        return [m.ravel().reshape(m.shape, order="F") for m in super().matrices(packed, inputs)]

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        super().store(cell, outputs, row, head)
        for name, matrices in (("weights", cell.weights), ("momentum", cell.momentum), ("anchor", cell.anchor)):
            outputs[name][row, head] = np.concatenate([matrix.ravel(order="F") for matrix in matrices])


class InnerMatrixFirst(Oracle):
    """W2 packed before W1."""

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        super().store(cell, outputs, row, head)
        outputs["weights"][row, head] = pack(cell.weights[::-1])


class ResidualInMatrix(Oracle):
    """A residual for the matrix memory too."""

    def read(self, cell: Cell, token: Token) -> Array:
        extra = identity_part(token.query, len(cell.weights[0])) if self.architecture == "matrix" else 0.0
        return np.asarray(super().read(cell, token) + extra)


class SiluForGelu(Oracle):
    def read(self, cell: Cell, token: Token) -> Array:
        if self.architecture == "matrix":
            return super().read(cell, token)
        z = cell.weights[1] @ token.query
        return np.asarray(super().read(cell, token) + cell.weights[0] @ (z / (1.0 + np.exp(-z)) - gelu(z)))


class LogisticGelu(Oracle):
    """gelu as z sigmoid(1.702 z)."""

    def read(self, cell: Cell, token: Token) -> Array:
        if self.architecture == "matrix":
            return super().read(cell, token)
        z = cell.weights[1] @ token.query
        return np.asarray(super().read(cell, token) + cell.weights[0] @ (z / (1.0 + np.exp(-1.702 * z)) - gelu(z)))


class ReadStandardised(Oracle):
    """A normalisation over the entries of the read, inside the memory."""

    def read(self, cell: Cell, token: Token) -> Array:
        y = super().read(cell, token)
        return np.asarray((y - y.mean()) / np.sqrt(y.var() + 1e-5))


class QueryNormalised(Oracle):
    """The query is normalised again inside the memory."""

    def read(self, cell: Cell, token: Token) -> Array:
        length = float(np.sqrt((token.query**2).sum())) + 1e-30
        return super().read(cell, Token(**{**vars(token), "query": token.query / length}))


class AnchorRead(Oracle):
    """Reads the memory at the start of the chunk."""

    def read(self, cell: Cell, token: Token) -> Array:
        return super().read(Cell(cell.anchor, cell.momentum, cell.anchor, cell.window, cell.position), token)

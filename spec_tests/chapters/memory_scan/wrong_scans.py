"""Scans done wrongly: the loop with one method changed, over documents, rows and calls."""

import numpy as np

from spec_tests.chapters.memory_step.loop import STATE, Cell, Inputs, Matrices, Oracle, Token, predict
from spec_tests.faults.fault import Arrays, Config
from spec_tests.port import Array, round_to_bf16


class MomentumNotCarried(Oracle):
    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        cell.momentum = [0.0 * matrix for matrix in cell.momentum]
        super().write(cell, token, gradient)


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


class Nesterov(Oracle):
    """Writes one more gradient step than the momentum holds."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        if self.rule == "titans":
            intake = self.intake_and_release(token)[0]
            cell.weights = [m + 0.5 * intake * g for m, g in zip(cell.weights, gradient, strict=True)]


class OneWriteAChunk(Oracle):
    """One update a chunk, with the gates of its last token."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        if self.phase(cell) == self.chunk - 1:
            super().write(cell, token, gradient)


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


class ResetLate(Oracle):
    """The marked token is still written into the document before; the next one starts afresh."""

    pending = False

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        self.pending = False
        return super().load(inputs, row, head)

    def begins(self, cell: Cell, token: Token) -> bool:
        begins, self.pending = self.pending or cell.position == 0, token.reset
        return begins


class PreBeforeReset(Oracle):
    """Reads before the write, and before the reset as well: the document before answers."""

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        before = self.read(cell, token)
        after = super().token(cell, token, initial)
        return before if self.config["read"] == "pre" else after


class OneTokenOld(Oracle):
    """Hands on the M that the last token found."""

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        self.found = cell.weights
        return super().token(cell, token, initial)

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        super().store(Cell(self.found, cell.momentum, cell.anchor, cell.window, cell.position), outputs, row, head)


class AnchoredAtTheEnd(Oracle):
    """Takes xi for the next chunk when a chunk ends, not when the next one begins."""

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        anchor = cell.weights if self.phase(cell) == 0 else cell.anchor
        super().store(Cell(cell.weights, cell.momentum, anchor, cell.window, cell.position), outputs, row, head)


class WrittenInBfloat16(Oracle):
    """Rounds M after every write, whatever is handed on at the end."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        cell.weights = [round_to_bf16(matrix).astype(matrix.dtype) for matrix in cell.weights]


def dead_places_repeat(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Fill the places that the document does not have with its last pair."""
    names = ("window_keys", "window_values")
    dead = np.arange(outputs[names[0]].shape[1]) < outputs[names[0]].shape[1] - outputs["position"][:, None]
    return {name: np.where(dead[:, :, None, None], outputs[name][:, -1:], outputs[name]) for name in names}


def multiplied(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Keep the state of a call without tokens by multiplying what is new by zero."""
    if inputs["keys"].shape[1]:
        return {}
    return {name: inputs[name] + 0.0 * inputs[name] for name in ("weights", "momentum", "anchor")}

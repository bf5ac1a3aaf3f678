"""The loop of the memory with a window in it: what every write takes in, and what it leaves."""

import numpy as np

from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Oracle, Token, pack
from spec_tests.port import Array

TAPS = ("gradient", "momentum_trace", "weights_trace")


class Traced(Oracle):
    """The loop, recording g, S and M of every row, head and token in the order in which it takes them."""

    def trace(self, inputs: Inputs) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the outputs of `run`, and each tap as [batch, time, heads, parameters]."""
        self._seen: list[tuple[Array, Array, Array]] = []
        outputs = self.run(inputs)
        batch, time, heads, _ = inputs["values"].shape
        shape = (batch, heads, time, inputs["weights"].shape[-1])
        columns = zip(*self._seen, strict=True) if self._seen else ([], [], [])
        taps = {
            name: np.array(column, dtype=outputs["weights"].dtype).reshape(shape).swapaxes(1, 2)
            for name, column in zip(TAPS, columns, strict=True)
        }
        return outputs, taps

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        """WRITE, and keep what it was made of."""
        super().write(cell, token, gradient)
        self._seen.append((pack(gradient), pack(cell.momentum), pack(cell.weights)))

"""The hierarchy of memories, a literal loop: what docs/spec/memory_hierarchical.md adds to the loop of chapter MEM.

    token of each memory:  RESET -> ANCHOR -> WRITE -> PROJECT -> READ

`Member` is one memory, cut into small methods so that a seeded fault is one method done wrongly.
"""

from dataclasses import dataclass

import numpy as np

from spec_tests.chapters.memory_step.loop import GATES, STATE, Cell, Config, Inputs, Matrices, Oracle, Token, pack
from spec_tests.chapters.qk_projection.oracle import direction
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array

MATRICES = STATE[:3]


@dataclass
class Held(Cell):
    """What one memory of one row and head holds: chapter MEM's, with the sum Pi; the window is that of the shard."""

    projection: Array


class Member(Oracle):
    """One memory: its number, chunk and shard; `cells` are those of all memories of the row and head."""

    cells: list[Held]

    def __init__(self, config: Config, number: int, chunk: int, shard: int, sums: Sums) -> None:
        super().__init__({**config, "chunk": chunk, "read": "post"}, sums)
        self.number, self.shard, self.span = number, shard, str(config["projection_span"])

    def turn(self, cell: Held, token: Token, initial: Matrices) -> Array:
        """Take one token and return what it reads."""
        self.enter(cell, token, initial)
        self.write(cell, token, self.window_gradient(cell, token))
        cell.window = cell.window[len(cell.window) - min(len(cell.window), len(token.gamma) - 1) :]
        self.project(cell, token)
        cell.position += 1
        return self.answer(cell, token)

    def begin(self, cell: Cell, initial: Matrices) -> None:
        """RESET: a document."""
        super().begin(cell, initial)
        assert isinstance(cell, Held)
        cell.projection = np.zeros_like(cell.projection)

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        """RESET and ANCHOR; the token joins the window."""
        assert isinstance(cell, Held)
        if not self.begins(cell, token) and self.crosses(cell):
            self.restart(cell, initial)
        super().enter(cell, token, initial)

    def crosses(self, cell: Held) -> bool:
        """Return whether the token begins a further shard of its document."""
        return self.shard > 0 and cell.position % self.shard == 0

    def restart(self, cell: Held, initial: Matrices) -> None:
        """RESET: a shard."""
        cell.weights = [matrix.copy() for matrix in initial]
        cell.momentum = [np.zeros_like(matrix) for matrix in initial]
        cell.window = []
        if self.span == "shard":
            cell.projection = np.zeros_like(cell.projection)

    def ages(self, cell: Cell, token: Token) -> range:
        """Return the ages that the write looks at: no older than the window, which is that of the shard."""
        oldest = len(cell.window) - 1 if self.config["boundary"] == "carry" else self.phase(cell)
        return range(min(len(token.gamma) - 1, oldest) + 1)

    def project(self, cell: Held, token: Token) -> None:
        """PROJECT: the direction of the key joins Pi."""
        if self.span == "chunk" and self.phase(cell) == 0:
            cell.projection = np.zeros_like(cell.projection)
        unit = direction(token.key, self.sums)
        cell.projection = cell.projection + unit[:, None] * unit[None, :]

    def answer(self, cell: Held, token: Token) -> Array:
        """READ."""
        if self.number == 0:
            return self.value(cell.anchor, token.query)
        return self.value(cell.weights, self.asked(cell, token))

    def asked(self, cell: Held, token: Token) -> Array:
        """Return what a local memory is asked."""
        return token.query if self.span == "none" else self.sums.matvec(cell.projection, token.query)


class Hierarchy:
    """All memories of a configuration."""

    def __init__(self, config: Config, sums: Sums = ANY_ORDER, member: type[Member] = Member) -> None:
        self.config, self.sums, self.member = config, sums, member

    def run(self, x: Inputs) -> dict[str, Array]:
        """Run every row and head by itself over all tokens."""
        dtype = np.result_type(*(value for value in x.values() if value.dtype.kind in "fc"))
        state = (*MATRICES, "carry", "window_keys", "window_values")
        outputs = {"reads": np.zeros(x["values"].shape, dtype), "position": np.array(x["position"])}
        outputs |= {name: np.array(x[name], dtype=dtype) for name in state}
        batch, time, heads, _ = x["values"].shape
        for row in range(batch if time else 0):
            for head in range(heads):
                self._column(x, outputs, row, head)
        return outputs

    def _column(self, x: Inputs, outputs: dict[str, Array], row: int, head: int) -> None:
        lengths = zip(x["chunks"].tolist(), x["shards"].tolist(), strict=True)
        members = [self.member(self.config, m, *each, self.sums) for m, each in enumerate(lengths)]
        cells = [self._load(one, x, row, head) for one in members]
        for one in members:
            one.cells = cells
        starts = [one.matrices(x["initial"][m, head], x) for m, one in enumerate(members)]
        for t in range(x["values"].shape[1]):
            reads = [
                one.turn(cell, self._see(x, row, t, m, head), start)
                for m, (one, cell, start) in enumerate(zip(members, cells, starts, strict=True))
            ]
            outputs["reads"][row, t, head] = self.sums.total(np.stack(reads), axis=0)
        self._store(cells, outputs, row, head)

    def _see(self, x: Inputs, row: int, t: int, m: int, head: int) -> Token:
        key, value, query = (x[name][row, t, head] for name in ("keys", "values", "queries"))
        retention, decay, step, gamma = (x[name][row, t, m, head] for name in GATES)
        return Token(key, value, query, retention, decay, step, gamma, bool(x["reset"][row, t]))

    def _load(self, member: Member, x: Inputs, row: int, head: int) -> Held:
        """Return what a memory holds, the window without the places before its shard."""
        m, position, past = member.number, int(x["position"][row]), x["window_keys"].shape[1]
        weights, momentum, anchor = (member.matrices(x[name][row, m, head], x) for name in MATRICES)
        pairs = [(x["window_keys"][row, i, head], x["window_values"][row, i, head]) for i in range(past)]
        behind = position % member.shard if member.shard else position
        carry = x["carry"][row, max(m, 1) - 1, head]
        return Held(weights, momentum, anchor, pairs[past - min(past, behind) :], position, carry)

    def _store(self, cells: list[Held], outputs: dict[str, Array], row: int, head: int) -> None:
        """Write the state; window and position are those of the global memory, which knows the whole document."""
        for m, cell in enumerate(cells):
            for name, matrices in zip(MATRICES, (cell.weights, cell.momentum, cell.anchor), strict=True):
                outputs[name][row, m, head] = pack(matrices)
            if m and self.config["projection_span"] != "none":
                outputs["carry"][row, m - 1, head] = cell.projection
        past = outputs["window_keys"].shape[1]
        for name, part in (("window_keys", 0), ("window_values", 1)):
            outputs[name][row, :, head] = 0.0
            for i, pair in enumerate(reversed(cells[0].window)):
                outputs[name][row, past - 1 - i, head] = pair[part]
        outputs["position"][row] = cells[0].position

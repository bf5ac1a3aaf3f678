"""docs/spec/schedule.md in numpy: losses wait in a list until they are written, and every token looks for a border."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.loop import Cell, Config, Inputs, Matrices, Oracle, Token, blank
from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.chapters.schedule.operation import FIXED, ROWS
from spec_tests.oracle.answer import Arrays, Function, Slopes
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


@dataclass
class Waiting(Cell):
    """A memory with the window weights, by age, of the tokens whose losses wait, oldest first."""

    waiting: list[list[float]] = field(default_factory=list)


class Scheduled(Oracle):
    """The loop of chapter RULE under a schedule."""

    def __init__(self, config: Config, sums: Sums) -> None:
        super().__init__({**FIXED, **config}, sums)
        self.every, self.shard = int(config["every"]), int(config["shard"])
        self.logit: Array = np.zeros(())
        self.held: dict[str, Array] = {}

    def answer(self, inputs: Inputs) -> Arrays:
        """Return the reads and the state of a call."""
        self.logit, dtype = inputs["alpha_logit"], blank(inputs)["reads"].dtype
        self.held = {name: np.array(inputs[name], dtype) for name in ("waiting", "carry")}
        queries = self.projected(inputs, np.array(inputs["queries"], dtype))
        return {**self.run({**inputs, "queries": queries}), **self.held}

    def projected(self, inputs: Inputs, queries: Array) -> Array:
        """Return Pi_t q_t, and leave Pi of the last token in what is held."""
        for row, head in np.ndindex(queries.shape[0], queries.shape[2]):
            pi, position = self.held["carry"][row, head], int(inputs["position"][row])
            for t in range(queries.shape[1]):
                position = 0 if inputs["reset"][row, t] else position
                pi = self.summed_from(pi, position)
                key = inputs["keys"][row, t, head]
                unit = key / self.sums.norm(key)
                pi = pi + unit[:, None] * unit[None, :]
                queries[row, t, head] = self.sums.matvec(pi, queries[row, t, head])
                position += 1
            self.held["carry"][row, head] = pi
        return queries

    def summed_from(self, pi: Array, position: int) -> Array:
        """Return what Pi is before the key at a position joins it."""
        span = self.config["projection_span"]
        if position == 0 or (span == "chunk" and position % self.chunk == 0):
            return np.zeros_like(pi)
        if span == "shard" and self.crosses(position):
            return np.asarray(self.rate(position) * pi.real)
        return pi

    def crosses(self, position: int) -> bool:
        """Return whether a shard begins here, inside a document."""
        return self.shard > 0 and position > 0 and position % self.shard == 0

    def rate(self, position: int) -> Array:
        """Return a: the share of S and Pi that a shard inherits (chapter M3)."""
        crossings, warmup = self.crossings(position), int(self.config["warmup_crossings"])
        return np.asarray(0.1 + 0.4 * crossings / warmup if crossings < warmup else sigmoid(self.logit))

    def crossings(self, position: int) -> int:
        """Return n: the borders of the document behind this one."""
        return position // self.shard - 1

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        """Take one token and return what it reads."""
        assert isinstance(cell, Waiting)
        self.enter(cell, token, initial)
        cell.waiting.append(self.gammas(cell, token))
        if self.ends(cell):
            self.write_all(cell, token)
            cell.waiting = []
        past = len(token.gamma) + self.every - 2
        cell.window = cell.window[len(cell.window) - min(len(cell.window), past) :]
        cell.position += 1
        return self.read(cell, token)

    def ends(self, cell: Cell) -> bool:
        """Return whether the token is the last of N of its document."""
        return (cell.position + 1) % self.every == 0

    def gammas(self, cell: Cell, token: Token) -> list[float]:
        """Return the weights of a token's window as its loss takes them in; none where nothing is written."""
        seen = [self.gamma(cell, token, age) for age in self.ages(cell, token)] if self.config["writes"] else []
        return seen + [0.0] * (len(token.gamma) - len(seen))

    def write_all(self, cell: Waiting, token: Token) -> None:
        """Write the losses that wait, unless nothing is written: then they count for nothing."""
        if not self.config["writes"]:
            return
        parts = []
        for back, gammas in enumerate(reversed(cell.waiting)):
            for age, weight in enumerate(gammas):
                if back + age < len(cell.window):
                    key, value = cell.window[-1 - back - age]
                    parts.append([weight * matrix for matrix in self.pair_gradient(cell, key, value)])
        self.write(cell, token, [self.sums.total(np.stack(same), axis=0) for same in zip(*parts, strict=True)])

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        """RESET, the border of a shard, and ANCHOR."""
        if not self.begins(cell, token) and self.crosses(cell.position):
            self.cross(cell, initial)
        super().enter(cell, token, initial)

    def cross(self, cell: Cell, initial: Matrices) -> None:
        """Begin a shard."""
        share = self.rate(cell.position)
        cell.weights = [matrix.copy() for matrix in initial]
        cell.momentum = [share * matrix.real for matrix in cell.momentum]

    def begin(self, cell: Cell, initial: Matrices) -> None:
        """RESET: no loss of another document waits."""
        assert isinstance(cell, Waiting)
        super().begin(cell, initial)
        cell.waiting = []

    def horizon(self) -> float:
        """Return N h: a momentum that acts once in N tokens."""
        return self.every * super().horizon()

    def intake_and_release(self, token: Token) -> tuple[float, float]:
        """Return the factors of g in S and of S in M; the divisor has the chunk of training."""
        return -token.step / (self.divided_by() + self.horizon()) * (1.0 - token.decay), 1.0

    def divided_by(self) -> int:
        """Return b of the divisor."""
        return int(self.config["step_chunk"]) or self.chunk

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        """Return the carried memory, with the weights of the losses that wait."""
        cell = super().load(inputs, row, head)
        live = cell.position % self.every
        rows = inputs["waiting"][row, len(inputs["waiting"][row]) - live :, head]
        return Waiting(**vars(cell), waiting=[list(weights) for weights in rows])

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        """Write the carried memory; losses that are written wait no more."""
        assert isinstance(cell, Waiting)
        super().store(cell, outputs, row, head)
        held = self.held["waiting"][row, :, head]
        held[...] = 0.0
        for place, gammas in zip(reversed(range(len(held))), reversed(cell.waiting), strict=False):
            held[place] = gammas


def memory_schedule(config: Config, x: Arrays, sums: Sums) -> Arrays:
    """Return the reads and the state."""
    return Scheduled(config, sums).answer(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_SCHEDULE: memory_schedule}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.MEMORY_SCHEDULE: in_columns(ROWS[0], memory_schedule)}

"""docs/spec/miras_chunked.md in closed form: no state follows from the one before, all of a run at once.

With D(g)[t, i] = the product of the gates g after i up to t, one number or one for each row or column, a run is

    S_t = D(theta)[t, 0] theta_0 S + sum_i D(theta)[t, i] intake_i g_i,
    A_t = D(alpha)[t, 0] alpha_0 o A + sum_i D(alpha)[t, i] o release_i U(S_i),      W_t = link(A_t).

A run ends with its chunk, since g_i needs the anchor. Where every token has one of its own and its error is that of
what retention leaves (`retained`, `implicit`), the errors of all tokens are the unknowns of one system, and a run is a
document; row by row e_t + sum_{s<t} eta_s rate_s (sum_f D(alpha)[t, s] k_s k_t) e_s = (D(alpha)[t] o A) k_t - v_t.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from spec_tests.chapters.memory_chunked.oracle import Chunks, decays
from spec_tests.chapters.memory_step.loop import Cell, Matrices, Token
from spec_tests.chapters.miras_chunked.operation import ROWS
from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.chapters.miras_scan.loop import Miras, Writer
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

Trace = list[Array]
"""A matrix after each token, [token, out, in], for every matrix of the memory."""


class Closed(Chunks, Miras):
    """The memory of one configuration, run by run (module docstring)."""

    @property
    def token_by_token(self) -> bool:
        """Whether there are no runs: a proximal step is linear in nothing; an orthogonalised S_i stands in the sum."""
        return self.config["retention"] == "proximal_elastic"

    @property
    def of_one_token(self) -> bool:
        """Whether the errors of a whole document solve one system."""
        return self.implicit or self.config["error_at"] == "retained"

    def end(self, cell: Cell, tokens: list[Token], start: int) -> int:
        """Return where the run that begins at `start` ends."""
        if not self.of_one_token:
            return super().end(cell, tokens, start)
        return next((t for t in range(start + 1, len(tokens)) if tokens[t].reset), len(tokens))

    def take(self, cell: Cell, tokens: list[Token], initial: Matrices) -> Array:
        """Take a run of tokens and return what they read."""
        self.enter(cell, tokens[0], initial)
        cell.window += [(token.key, token.value) for token in tokens[1:]]
        before = cell.weights
        momentum, weights = self.solved(cell, tokens) if self.of_one_token else self.summed(cell, tokens)
        earlier = [np.concatenate([old[None], trace[:-1]]) for old, trace in zip(before, weights, strict=True)]
        if self.of_one_token:
            cell.anchor = [trace[-1] for trace in earlier]
        at_anchor = [np.broadcast_to(matrix, trace.shape) for matrix, trace in zip(cell.anchor, weights, strict=True)]
        seen = {"post": weights, "pre": earlier, "anchor": earlier if self.of_one_token else at_anchor}
        reads = self.seen_by(cell, tokens, seen[str(self.config["read"])])
        cell.momentum = [trace[-1] for trace in momentum]
        cell.weights = self.settled([trace[-1] for trace in weights])
        cell.window = cell.window[len(cell.window) - min(len(cell.window), len(tokens[0].gamma) - 1) :]
        cell.position += len(tokens)
        return reads

    def seen_by(self, cell: Cell, tokens: list[Token], weights: Trace) -> Array:
        """Return the reads of each token from the memory that it sees."""
        seen = [replace(cell, weights=[trace[t] for trace in weights]) for t in range(len(tokens))]
        return np.stack([self.read(memory, token) for memory, token in zip(seen, tokens, strict=True)])

    def summed(self, cell: Cell, tokens: list[Token]) -> tuple[Trace, Trace]:
        """Return S and A after each token as sums over the gradients at the anchor."""
        before = len(cell.window) - len(tokens)
        views = [
            replace(cell, window=cell.window[: before + t + 1], position=cell.position + t) for t in range(len(tokens))
        ]
        gradients = [self.window_gradient(view, token) for view, token in zip(views, tokens, strict=True)]
        intake, release = (
            np.array(column, dtype=self.dtype)[:, None, None]
            for column in zip(*(self.intake_and_release(token) for token in tokens), strict=True)
        )
        theta = np.array([self.decay(token) for token in tokens], dtype=self.dtype)[:, None, None]
        momentum, weights = [], []
        for old, pushed, *each in zip(cell.weights, cell.momentum, *gradients, strict=True):
            momentum.append(self.carried(theta, pushed, intake * np.stack(each)))
            updates = np.stack([self.update(matrix) for matrix in momentum[-1]])
            weights.append(self.carried(self.gates(tokens), old, release * updates))
        return momentum, weights

    def carried(self, gates: Array, old: Array, fresh: Array) -> Array:
        """Return x_t = g_t o x_{t-1} + fresh_t from x_{-1} = `old`, for every t at once."""
        inside = self.sums.total(decays(gates) * fresh, axis=1)
        return np.asarray(np.cumprod(gates, axis=0) * old + inside)

    def gates(self, tokens: list[Token]) -> Array:
        """Return alpha of each token as it multiplies a matrix: [token, rows or 1, columns or 1]."""
        gates = np.stack([token.gate for token in tokens if isinstance(token, Writer)])
        return gates[:, :, None] if self.config["gate_axis"] == "rows" else gates[:, None, :]

    def solved(self, cell: Cell, tokens: list[Token]) -> tuple[Trace, Trace]:
        """Return S and A after each token from the errors of all, which solve one system for every row of A."""
        (old,), gates = cell.weights, self.gates(tokens)
        keys, values = np.stack([token.key for token in tokens]), np.stack([token.value for token in tokens])
        rates = np.array([self.rate(token) for token in tokens], dtype=self.dtype)
        steps = np.array([-self.intake_and_release(token)[1] for token in tokens], dtype=self.dtype)
        gates = np.broadcast_to(gates, (len(tokens), *old.shape))
        kept, between = np.cumprod(gates, axis=0) * old, decays(gates)
        errors = np.zeros(values.shape, dtype=self.dtype)
        for row in range(len(old)):
            shared = self.sums.total(between[:, :, row] * keys[None] * keys[:, None])
            system = np.eye(len(tokens), dtype=self.dtype) + np.tril(shared * (steps * rates), -1)
            errors[:, row] = np.linalg.solve(system, self.sums.dot(kept[:, row], keys) - values[:, row])
        momentum = (rates[:, None] * errors)[:, :, None] * keys[:, None]
        return [momentum], [self.carried(gates, old, -steps[:, None, None] * momentum)]

    def rate(self, token: Token) -> float:
        """Return what the error of a token is multiplied by in its gradient."""
        rate: float = 2.0 * float(self.config["loss_scale"]) * token.gamma[0]
        square: float = self.sums.dot(token.key, token.key).item()
        if self.implicit:
            return rate / (1.0 + rate * token.step * square)
        return rate / square if self.mass and square.real > 1.0 else rate


def _miras_chunked(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return Closed(config, sums).run(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.MIRAS_CHUNKED: _miras_chunked}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.MIRAS_CHUNKED: in_columns(ROWS[0], _miras_chunked)}

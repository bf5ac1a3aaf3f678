"""docs/spec/memory_chunked.md in closed form: CHUNK-3 as products of matrices, one run of tokens at a time.

A run is the tokens of a call that share one anchor. Inside it the linear rules are sums over pairs (k_p, v_p) whose
gradients G_p are all taken at that anchor, so every M_t is M, S and the G_p with coefficients that depend on the gates
alone. The matrix memory is never formed inside a run: with G_p = e_p k_p^T a read is a sum over pairs of
(k_p . q_t) e_p, as in attention. Newton-Schulz is not linear: `atlas` and `atlas_appendix` fall back on the loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Oracle, Token, blank, predict
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


@dataclass(frozen=True)
class Shares:
    """What M_t (or S_t) of a run is made of: `old` of M before it, `momentum` of S before it, `pairs` of each G_p."""

    old: Array
    momentum: Array
    pairs: Array


@dataclass(frozen=True)
class Pairs:
    """The pairs that a run looks at: keys and errors at its anchor, and for `mlp` their gradients in each matrix."""

    keys: Array
    errors: Array
    gradients: Matrices


def decays(gates: Array) -> Array:
    """Return D[i, j] = the product of the gates after j up to i, one on the diagonal, zero above it, entry by entry."""
    result = np.zeros((len(gates), *gates.shape), dtype=gates.dtype)
    for i, gate in enumerate(gates):
        if i > 0:
            result[i] = gate * result[i - 1]
        result[i, i] = 1.0
    return result


def earlier(shares: Shares) -> Shares:
    """Return what stood before each write: the shares of the token before, and all of M at the first."""
    return Shares(
        np.concatenate([np.ones_like(shares.old[:1]), shares.old[:-1]]),
        np.concatenate([np.zeros_like(shares.momentum[:1]), shares.momentum[:-1]]),
        np.concatenate([np.zeros_like(shares.pairs[:1]), shares.pairs[:-1]]),
    )


class Chunks(Oracle):
    """The rule of one configuration, run by run."""

    dtype: np.dtype[Any]

    def run(self, inputs: Inputs) -> dict[str, Array]:
        """Run every row and head by itself, all tokens of one anchor at once."""
        time = inputs["values"].shape[1]
        if self.token_by_token or time == 0:
            return super().run(inputs)
        outputs = blank(inputs)
        self.dtype = outputs["reads"].dtype
        for row, head in np.ndindex(len(inputs["position"]), inputs["values"].shape[2]):
            cell, initial = self.load(inputs, row, head), self.matrices(inputs["initial"][head], inputs)
            tokens = [self.see(inputs, row, t, head) for t in range(time)]
            start = 0
            while start < time:
                stop = self.end(cell, tokens, start)
                outputs["reads"][row, start:stop, head] = self.take(cell, tokens[start:stop], initial)
                start = stop
            self.store(cell, outputs, row, head)
        return outputs

    @property
    def token_by_token(self) -> bool:
        """Whether there are no runs: Newton-Schulz is not linear."""
        return self.rule in ("atlas", "atlas_appendix")

    def end(self, cell: Cell, tokens: list[Token], start: int) -> int:
        """Return where the run that begins at `start` ends: at the next border of chunks, document or call."""
        phase = 0 if self.begins(cell, tokens[start]) else self.phase(cell)
        stop = min(start + self.chunk - phase, len(tokens))
        return next((t for t in range(start + 1, stop) if tokens[t].reset), stop)

    def take(self, cell: Cell, tokens: list[Token], initial: Matrices) -> Array:
        """Take a run of tokens and return what they read."""
        self.enter(cell, tokens[0], initial)
        cell.window += [(token.key, token.value) for token in tokens[1:]]
        momentum, weights = self.shares(cell, tokens)
        pairs = self.pairs(cell)
        reads = self.reads(cell, tokens, earlier(weights) if self.config["read"] == "pre" else weights, pairs)
        cell.momentum, cell.weights = self.mixed(cell, momentum, pairs, -1), self.mixed(cell, weights, pairs, -1)
        cell.window = cell.window[len(cell.window) - min(len(cell.window), len(tokens[0].gamma) - 1) :]
        cell.position += len(tokens)
        return reads

    def shares(self, cell: Cell, tokens: list[Token]) -> tuple[Shares, Shares]:
        """Return the shares of S and of M after each token: the nested sums of CHUNK-3."""
        gamma = self.band(cell, tokens)
        factors = [self.intake_and_release(token) for token in tokens]
        intake, release = (np.array(column, dtype=self.dtype)[:, None] for column in zip(*factors, strict=True))
        thetas = np.array([self.decay(token) for token in tokens], dtype=self.dtype)
        alphas = np.array([token.retention for token in tokens], dtype=self.dtype)
        kept, carried = np.cumprod(alphas), np.cumprod(thetas)
        inside = self.sums.matmul(decays(thetas), intake * gamma)
        after = decays(alphas)
        written = self.sums.matvec(after, release[:, 0] * carried)
        pairs = self.sums.matmul(after, release * inside)
        return Shares(0.0 * kept, carried, inside), Shares(kept, written, pairs)

    def band(self, cell: Cell, tokens: list[Token]) -> Array:
        """Return the weight of every pair of the window in the gradient of every token."""
        before = len(cell.window) - len(tokens)
        gamma = np.zeros((len(tokens), len(cell.window)), dtype=self.dtype)
        for i, token in enumerate(tokens):
            now = replace(cell, position=cell.position + i)
            for age in self.ages(now, token):
                gamma[i, before + i - age] = self.gamma(now, token, age)
        return gamma

    def pairs(self, cell: Cell) -> Pairs:
        """Return every pair of the window as the anchor sees it."""
        keys = np.stack([key for key, _ in cell.window])
        errors = np.stack([self.error(cell, key, value) for key, value in cell.window])
        if self.architecture == "matrix":
            return Pairs(keys, errors, [])
        gradients = [self.back(cell.anchor, key, error) for key, error in zip(keys, errors, strict=True)]
        return Pairs(keys, errors, [np.stack(matrices) for matrices in zip(*gradients, strict=True)])

    def mixed(self, cell: Cell, shares: Shares, pairs: Pairs, t: int) -> Matrices:
        """Return the matrices after token `t` of the run."""
        share = shares.pairs[t]
        if self.architecture == "matrix":
            sums = [self.sums.matmul((share[:, None] * pairs.errors).T, pairs.keys)]
        else:
            sums = [self.sums.total(share[:, None, None] * part, axis=0) for part in pairs.gradients]
        old = zip(sums, cell.weights, cell.momentum, strict=True)
        return [shares.old[t] * m + shares.momentum[t] * s + total for total, m, s in old]

    def reads(self, cell: Cell, tokens: list[Token], shares: Shares, pairs: Pairs) -> Array:
        """Return what each token reads."""
        queries = np.stack([token.query for token in tokens])
        if self.architecture == "mlp":
            matrices = [self.mixed(cell, shares, pairs, t) for t in range(len(tokens))]
            return np.stack([predict("mlp", m, q, self.sums) for m, q in zip(matrices, queries, strict=True)])
        scores = shares.pairs * self.sums.matmul(queries, pairs.keys.T)
        stored = self.sums.matmul(queries, cell.weights[0].T)
        pushed = self.sums.matmul(queries, cell.momentum[0].T)
        return np.asarray(
            shares.old[:, None] * stored + shares.momentum[:, None] * pushed + self.sums.matmul(scores, pairs.errors)
        )


def _memory_chunked(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return Chunks(config, sums).run(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_CHUNKED: _memory_chunked}

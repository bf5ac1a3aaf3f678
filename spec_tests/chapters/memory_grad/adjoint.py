"""Gradients of the memory loop: the turns recorded, then taken back one by one from the last to the first.

What a turn multiplies and adds goes back by the product rule; the three maps inside go back by `memory_products`.
Element by element, a complex step through the loop gives the same, at a price that grows with the square of its length.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spec_tests.chapters.memory_grad.products import (
    Back,
    inner,
    through,
    through_curvature,
    through_gradient,
    through_newton_schulz,
)
from spec_tests.chapters.memory_step.loop import STATE, Cell, Config, Inputs, Matrices, Oracle, Token, pack
from spec_tests.oracle.complex_step import STEP
from spec_tests.port import Array

Pair = tuple[Array, Array]


@dataclass
class Turn:
    """One turn: what it found after RESET and ANCHOR, and what it made."""

    token: Token
    begins: bool
    opens: bool
    found: Cell
    ages: range
    pairs: list[Matrices] = field(default_factory=list)
    gradient: Matrices = field(default_factory=list)
    momentum: Matrices = field(default_factory=list)
    weights: Matrices = field(default_factory=list)


@dataclass
class Owed:
    """The derivatives with respect to the memory between two turns; the window as in `Cell`."""

    weights: Matrices
    momentum: Matrices
    anchor: Matrices
    window: list[Pair]


def add(left: Matrices, right: Matrices, factor: float = 1.0) -> Matrices:
    """Return left + factor * right."""
    return [a + factor * b for a, b in zip(left, right, strict=True)]


class Recorder(Oracle):
    """The loop, keeping every turn of one row and head."""

    turns: list[Turn]

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        """RESET and ANCHOR."""
        begins = self.begins(cell, token)
        super().enter(cell, token, initial)
        found = replace(cell, window=list(cell.window))
        self.turns.append(Turn(token, begins, self.phase(cell) == 0, found, self.ages(cell, token)))

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        """Return the gradient of one pair."""
        self.turns[-1].pairs.append(super().pair_gradient(cell, key, value))
        return self.turns[-1].pairs[-1]

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        """WRITE."""
        super().write(cell, token, gradient)
        turn = self.turns[-1]
        turn.gradient, turn.momentum, turn.weights = gradient, cell.momentum, cell.weights


class Adjoint:
    """The gradients of one configuration."""

    def __init__(self, config: Config) -> None:
        self.loop = Recorder(config)

    def gradients(self, inputs: Inputs, cotangents: Inputs) -> dict[str, Array]:
        """Return the derivative of sum(cotangent * output) with respect to every floating-point input, in float64."""
        slopes = {name: np.zeros_like(value) for name, value in inputs.items() if value.dtype.kind == "f"}
        asked = {name: np.zeros_like(inputs[name]) for name in STATE[:-1]} | {"reads": np.zeros_like(inputs["values"])}
        asked |= {name: np.asarray(value, dtype=float) for name, value in cotangents.items()}
        if inputs["values"].shape[1] == 0:
            return slopes | {name: asked[name] for name in STATE[:-1]}
        for row, head in np.ndindex(len(inputs["position"]), inputs["values"].shape[2]):
            self.column(inputs, asked, slopes, row, head)
        return slopes

    def column(self, inputs: Inputs, asked: Inputs, slopes: dict[str, Array], row: int, head: int) -> None:
        """Take one row and head through all tokens and back."""
        loop, past = self.loop, inputs["window_keys"].shape[1]
        cell, initial = loop.load(inputs, row, head), loop.matrices(inputs["initial"][head], inputs)
        loop.turns = []
        for t in range(inputs["values"].shape[1]):
            loop.token(cell, loop.see(inputs, row, t, head), initial)
        pairs = range(past - len(cell.window), past)
        weights, momentum, anchor = (loop.matrices(asked[name][row, head], inputs) for name in STATE[:3])
        window = [(asked["window_keys"][row, i, head], asked["window_values"][row, i, head]) for i in pairs]
        owed = Owed(weights, momentum, anchor, window)
        for t, turn in reversed(list(enumerate(loop.turns))):
            for name, slope in self.take_back(turn, owed, asked["reads"][row, t, head]).items():
                slopes[name][row, t, head] = slope
            if turn.begins:
                slopes["initial"][head] += pack(owed.weights)
                nothing = [0.0 * matrix for matrix in initial]
                owed = Owed(nothing, nothing, nothing, [])
        for name, matrices in zip(STATE[:3], (owed.weights, owed.momentum, owed.anchor), strict=True):
            slopes[name][row, head] = pack(matrices)
        for i, pair in enumerate(reversed(owed.window)):
            for name, part in zip(STATE[3:5], pair, strict=True):
                slopes[name][row, past - 1 - i, head] = part

    def take_back(self, turn: Turn, owed: Owed, vector: Array) -> dict[str, Array | float]:
        """Take one turn back: change `owed` and return the derivatives with respect to the token."""
        read = through(self.read_from(turn), turn.token.query, vector)
        if self.loop.config["read"] == "post":
            owed.weights = add(owed.weights, read.weights)
        slopes, on_gradient = self.recurrences_back(turn, owed)
        window, slopes["window_weights"] = self.window_back(turn, owed, on_gradient)
        if self.loop.config["read"] == "pre":
            owed.weights = add(owed.weights, read.weights)
        if turn.opens:
            owed.weights, owed.anchor = add(owed.weights, owed.anchor), [0.0 * matrix for matrix in owed.anchor]
        owed.window, (slopes["keys"], slopes["values"]) = window[:-1], window[-1]
        return slopes | {"queries": read.key}

    def read_from(self, turn: Turn) -> Matrices:
        """Return the matrices that the turn reads."""
        return turn.weights if self.loop.config["read"] == "post" else turn.found.weights

    def recurrences_back(self, turn: Turn, owed: Owed) -> tuple[dict[str, Array | float], Matrices]:
        """Take both recurrences back; return the derivatives of three gates and those with respect to g."""
        loop, token = self.loop, turn.token
        intake, release = loop.intake_and_release(token)
        on_release = inner(owed.weights, [loop.update(matrix) for matrix in turn.momentum])
        parts = zip(turn.momentum, owed.weights, strict=True)
        on_momentum = add(owed.momentum, [self.update_back(s, release * owed_s) for s, owed_s in parts])
        on_intake, on_decay = inner(on_momentum, turn.gradient), inner(on_momentum, turn.found.momentum)
        slopes: dict[str, Array | float] = {"retention": inner(owed.weights, turn.found.weights)}
        nudge: Any = 1j * STEP
        for name, stepped, direct in (
            ("step_size", replace(token, step=token.step + nudge), 0.0),
            ("momentum_decay", replace(token, decay=token.decay + nudge), on_decay),
        ):
            moves = [float(np.imag(factor)) / STEP for factor in loop.intake_and_release(stepped)]
            slopes[name] = on_intake * moves[0] + on_release * moves[1] + direct
        if loop.rule == "delta":
            slopes["momentum_decay"] = 0.0
        decay = loop.decay(token)
        owed.momentum = [decay * matrix for matrix in on_momentum]
        owed.weights = [token.retention * matrix for matrix in owed.weights]
        return slopes, [intake * matrix for matrix in on_momentum]

    def update_back(self, momentum: Array, vector: Array) -> Array:
        """Take U back."""
        if self.loop.rule not in ("atlas", "atlas_appendix"):
            return vector
        return through_newton_schulz(momentum, *self.loop.newton_schulz(), vector)

    def window_back(self, turn: Turn, owed: Owed, on_gradient: Matrices) -> tuple[list[Pair], Array]:
        """Take the windowed gradient back: to xi, to every pair of the window, and to the weights by age."""
        loop, token, found = self.loop, turn.token, turn.found
        window = [(0.0 * key, 0.0 * value) for key, value in found.window]
        for i, (key, value) in enumerate(reversed(owed.window)):
            window[-1 - i] = (key, value)
        gamma = np.zeros(len(token.gamma))
        share = 1.0 / len(token.gamma) if loop.mass else 1.0
        for age, part in zip(turn.ages, turn.pairs, strict=True):
            gamma[age] = share * inner(on_gradient, part)
            back = self.pair_back(found, found.window[-1 - age], part, on_gradient)
            weight = loop.gamma(found, token, age)
            owed.anchor = add(owed.anchor, back.weights, weight)
            key, value = window[-1 - age]
            window[-1 - age] = (key + weight * back.key, value + weight * back.value)
        return window, gamma

    def pair_back(self, found: Cell, pair: Pair, part: Matrices, vectors: Matrices) -> Back:
        """Take the gradient of one pair back, its division by max(1, kappa) included."""
        scale = 2.0 * float(self.loop.config["loss_scale"])
        kappa = self.loop.curvature(found.anchor, *pair) if self.loop.mass else 1.0
        back = through_gradient(found.anchor, *pair, [scale / max(1.0, kappa) * vector for vector in vectors])
        if kappa <= 1.0:
            return back
        # d(G/kappa) = dG/kappa - (G/kappa) dkappa/kappa, and `part` is G/kappa.
        bend, factor = through_curvature(found.anchor, *pair), -inner(vectors, part) / kappa
        return Back(
            add(back.weights, bend.weights, factor), back.key + factor * bend.key, back.value + factor * bend.value
        )

"""The memory written a second time, from the text of docs/spec alone: a literal loop over rows, heads and tokens.

Numpy, no broadcasting over tokens, gradients by explicit formulas, in the precision of the inputs and, where asked,
with every sum in a chosen order; complex inputs are allowed, so that a complex step differentiates the loop. Nothing
comes from the implementation under test. `Oracle` is cut into small methods so that a seeded fault is one method done
wrongly (`wrong_turns.py` and its like).

    token:  RESET -> ANCHOR -> (READ if `pre`) -> WRITE -> (READ if `post`)
    write:  g = sum_a gamma[a] 2 loss_scale grad(xi; k_{t-a}, v_{t-a}),
            S <- theta S + intake g,  M <- alpha M + release U(S)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.gelu import bend_at, entrywise, gelu_at, slope_at
from spec_tests.chapters.newton_schulz.oracle import coefficients_of, iteration
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array, Scalar

Config = Mapping[str, Scalar]
Inputs = Mapping[str, Array]
Matrices = list[Array]

GATES: Final = ("retention", "momentum_decay", "step_size", "window_weights")
TOKENS: Final = ("keys", "values", "queries", *GATES, "reset")
STATE: Final = ("weights", "momentum", "anchor", "window_keys", "window_values", "position")


@dataclass
class Cell:
    """The memory of one row and head; the window holds the pairs of the document, oldest first, this token's last."""

    weights: Matrices
    momentum: Matrices
    anchor: Matrices
    window: list[tuple[Array, Array]]
    position: int


@dataclass(frozen=True)
class Token:
    """What one row and head sees at one time."""

    key: Array
    value: Array
    query: Array
    retention: float
    decay: float
    step: float
    gamma: Array
    reset: bool


def gelu(z: Array) -> Array:
    """Return z Phi(z)."""
    return entrywise(z, gelu_at, slope_at)


def gelu_slope(z: Array) -> Array:
    """Return Phi(z) + z phi(z)."""
    return entrywise(z, slope_at, bend_at)


def identity_part(x: Array, width: int) -> Array:
    """Return the first `width` entries of x, zeros behind them where x is shorter."""
    result = np.zeros(width, dtype=x.dtype)
    result[: min(width, len(x))] = x[:width]
    return result


def unpack(architecture: str, packed: Array, features: int, values: int) -> Matrices:
    """Return the matrices of a vector of parameters."""
    if architecture == "matrix":
        return [packed.reshape(values, features)]
    hidden = len(packed) // (values + features)
    return [packed[: values * hidden].reshape(values, hidden), packed[values * hidden :].reshape(hidden, features)]


def outer_product(left: Array, right: Array) -> Array:
    """Return left right^T."""
    return np.asarray(left[:, None] * right[None, :])


def pack(matrices: Matrices) -> Array:
    """Return the vector of parameters: the inverse of `unpack`."""
    return np.concatenate([matrix.ravel() for matrix in matrices])


def predict(architecture: str, weights: Matrices, x: Array, sums: Sums = ANY_ORDER) -> Array:
    """Return M(x)."""
    if architecture == "matrix":
        return sums.matvec(weights[0], x)
    hidden = gelu(sums.matvec(weights[1], x))
    return np.asarray(identity_part(x, len(weights[0])) + sums.matvec(weights[0], hidden))


def blank(inputs: Inputs) -> dict[str, Array]:
    """Return reads of zero and the state that came in, in a type that holds what any input holds."""
    dtype = np.result_type(*(value for value in inputs.values() if value.dtype.kind in "fc"))
    state = {name: np.array(inputs[name], dtype=dtype) for name in STATE[:-1]}
    return {"reads": np.zeros(inputs["values"].shape, dtype), **state, "position": np.array(inputs["position"])}


class Oracle:
    """The rule of one configuration; `run` answers any memory operation with a time axis."""

    def __init__(self, config: Config, sums: Sums = ANY_ORDER) -> None:
        self.config, self.sums = config, sums
        self.architecture, self.rule = str(config["architecture"]), str(config["rule"])
        self.chunk = int(config["chunk"])

    def run(self, inputs: Inputs) -> dict[str, Array]:
        """Run every row and head by itself over all tokens."""
        batch, time, heads, _ = inputs["values"].shape
        outputs = blank(inputs)
        if time == 0:
            return outputs
        for row in range(batch):
            for head in range(heads):
                cell = self.load(inputs, row, head)
                initial = self.matrices(inputs["initial"][head], inputs)
                for t in range(time):
                    outputs["reads"][row, t, head] = self.token(cell, self.see(inputs, row, t, head), initial)
                self.store(cell, outputs, row, head)
        return outputs

    def token(self, cell: Cell, token: Token, initial: Matrices) -> Array:
        """Take one token and return what it reads."""
        self.enter(cell, token, initial)
        before = self.read(cell, token)
        self.write(cell, token, self.window_gradient(cell, token))
        cell.window = cell.window[len(cell.window) - min(len(cell.window), len(token.gamma) - 1) :]
        cell.position += 1
        return before if self.config["read"] == "pre" else self.read(cell, token)

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        """RESET and ANCHOR; the token joins the window."""
        if self.begins(cell, token):
            self.begin(cell, initial)
        if self.phase(cell) == 0:
            cell.anchor = [matrix.copy() for matrix in cell.weights]
        cell.window.append((token.key, token.value))

    def begins(self, cell: Cell, token: Token) -> bool:
        """Return whether the token begins a document."""
        return token.reset or cell.position == 0

    def read(self, cell: Cell, token: Token) -> Array:
        """READ."""
        return self.value(cell.weights, token.query)

    def value(self, weights: Matrices, x: Array) -> Array:
        """Return M(x)."""
        return predict(self.architecture, weights, x, self.sums)

    def begin(self, cell: Cell, initial: Matrices) -> None:
        """RESET: begin a document."""
        cell.weights = [matrix.copy() for matrix in initial]
        cell.momentum = [0.0 * matrix for matrix in initial]
        cell.window, cell.position = [], 0

    def phase(self, cell: Cell) -> int:
        """Return how many tokens of the chunk came before this one."""
        return cell.position % self.chunk

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        """WRITE: both recurrences."""
        intake, release = self.intake_and_release(token)
        decay = self.decay(token)
        cell.momentum = [decay * s + intake * g for s, g in zip(cell.momentum, gradient, strict=True)]
        updates = [self.update(s) for s in cell.momentum]
        kept = self.retained(cell.weights, token)
        cell.weights = [m + release * u for m, u in zip(kept, updates, strict=True)]

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        """Return what retention leaves of M."""
        return [token.retention * matrix for matrix in weights]

    def update(self, momentum: Array) -> Array:
        """Return U(S)."""
        if self.rule not in ("atlas", "atlas_appendix"):
            return momentum
        return iteration(momentum, *self.newton_schulz(), self.sums)

    def newton_schulz(self) -> tuple[str, int, float]:
        """Return coefficients, steps and offset of the start."""
        name, steps = str(self.config["coefficients"]), int(self.config["newton_schulz_steps"])
        return name, steps, prod(coefficients_of(name, i)[0] for i in range(steps)) if self.mass else 1e-7

    def decay(self, token: Token) -> float:
        """Return theta: `delta` has none."""
        return 0.0 if self.rule == "delta" else token.decay

    def intake_and_release(self, token: Token) -> tuple[float, float]:
        """Return the factors of g in S and of U(S) in M."""
        step, fresh = token.step, 1.0
        if self.mass:
            step, fresh = step / (self.chunk + self.horizon()), 1.0 - self.decay(token)
        if self.rule in ("titans", "atlas_appendix"):
            return -step * fresh, 1.0
        return fresh, -step

    @property
    def mass(self) -> bool:
        """Whether steps are normalised by mass."""
        return self.config["step_scale"] == "mass"

    def horizon(self) -> float:
        """Return h: how long the momentum carries a gradient on."""
        bound = float(self.config["momentum_max"])
        return 0.0 if self.rule == "delta" else bound / (1.0 - bound)

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        """Return g: the gradients of the pairs in sight, taken at the anchor, weighted by age."""
        parts = []
        for age in self.ages(cell, token):
            gradient, weight = self.pair_gradient(cell, *cell.window[-1 - age]), self.gamma(cell, token, age)
            parts.append([weight * matrix for matrix in gradient])
        return [self.sums.total(np.stack(matrices), axis=0) for matrices in zip(*parts, strict=True)]

    def ages(self, cell: Cell, token: Token) -> range:
        """Return the ages that the write looks at."""
        oldest = cell.position if self.config["boundary"] == "carry" else self.phase(cell)
        return range(min(len(token.gamma) - 1, oldest) + 1)

    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        """Return the weight of the pair `age` tokens ago."""
        weight: float = token.gamma[age]
        return weight / len(token.gamma) if self.mass else weight

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        """Return the gradient of loss_scale ||M(k) - v||^2 at the anchor; with `mass` divided by max(1, kappa)."""
        return self.back(cell.anchor, key, self.error(cell, key, value))

    def error(self, cell: Cell, key: Array, value: Array) -> Array:
        """Return 2 loss_scale (M(k) - v) at the anchor; with `mass` divided by max(1, kappa)."""
        scale = 2.0 * float(self.config["loss_scale"])
        if self.mass and (curvature := self.curvature(cell.anchor, key, value)).real > 1.0:
            scale = scale / curvature
        return np.asarray(scale * (self.value(cell.anchor, key) - value))

    def back(self, anchor: Matrices, key: Array, error: Array) -> Matrices:
        """Return the gradient of <error, M(k)> in every matrix of M."""
        if self.architecture == "matrix":
            return [outer_product(error, key)]
        outer, inner = anchor
        z = self.sums.matvec(inner, key)
        returned = self.sums.matvec(outer.T, error) * gelu_slope(z)
        return [outer_product(error, gelu(z)), outer_product(returned, key)]

    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        """Return kappa."""
        square: float = self.sums.dot(key, key).item()
        if self.architecture == "matrix":
            return square
        outer, inner = weights
        z = self.sums.matvec(inner, key)
        columns = self.sums.total(outer * outer, axis=0)
        slope, hidden = gelu_slope(z), gelu(z)
        error = self.value(weights, key) - value
        coupling = 1.13 * self.sums.norm(key) * self.sums.norm(error)
        kappa = self.sums.dot(hidden, hidden) + square * self.sums.dot(slope * slope, columns) + coupling
        result: float = kappa.item()
        return result

    def matrices(self, packed: Array, inputs: Inputs) -> Matrices:
        """Return the matrices of one row and head."""
        return unpack(self.architecture, packed, inputs["keys"].shape[-1], inputs["values"].shape[-1])

    def see(self, inputs: Inputs, row: int, t: int, head: int) -> Token:
        """Return one token of one head."""
        key, value, query = (inputs[name][row, t, head] for name in ("keys", "values", "queries"))
        retention, decay, step, gamma = (inputs[name][row, t, head] for name in GATES)
        return Token(key, value, query, retention, decay, step, gamma, bool(inputs["reset"][row, t]))

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        """Return the carried memory of one row and head, the window without the places older than the document."""
        weights, momentum, anchor = (self.matrices(inputs[name][row, head], inputs) for name in STATE[:3])
        position, past = int(inputs["position"][row]), inputs["window_keys"].shape[1]
        pairs = [(inputs["window_keys"][row, i, head], inputs["window_values"][row, i, head]) for i in range(past)]
        return Cell(weights, momentum, anchor, pairs[past - min(past, position) :], position)

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        """Write the carried memory of one row and head, the window with zeros before the document."""
        for name, matrices in zip(STATE[:3], (cell.weights, cell.momentum, cell.anchor), strict=True):
            outputs[name][row, head] = pack(matrices)
        past = outputs["window_keys"].shape[1]
        for name, part in (("window_keys", 0), ("window_values", 1)):
            outputs[name][row, :, head] = 0.0
            for i, pair in enumerate(reversed(cell.window)):
                outputs[name][row, past - 1 - i, head] = pair[part]
        outputs["position"][row] = cell.position

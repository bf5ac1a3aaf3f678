"""The memory with every axis of MIRAS (2504.13173) as a numpy loop, in the convention of attention kernels.

States are keys x values (W x becomes x @ W), decays come as logarithms, gradients are formulas with whole Jacobians.
Nothing comes from `atlas_ref` or from the loops of the chapters, and complex numbers pass through everything: the
derivative of the loop is its own imaginary part, with no step size to choose.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from spec_tests.port import Array

Matrices = list[Array]
STEP_INSIDE: Final = ("titans", "atlas_appendix")


@dataclass(frozen=True)
class Options:
    """The axes by the names of the package; `p`, `s` are of the bias, `q`, `scale`, `level` of the link."""

    architecture: str = "matrix"
    rule: str = "omega"
    chunk: int = 3
    window: int = 2
    read: str = "post"
    loss_scale: float = 0.5
    mass: bool = False
    every: int = 1
    bias: str = "l2"
    p: float = 2.0
    s: float = 1e-3
    link: str = "identity"
    q: float = 2.0
    scale: float = 1.0
    level: float = 0.0
    retention: str = "dual"
    error_at: str = "previous"
    gate_axis: str = "head"
    algorithm: str = "gd"


def bend(z: Array) -> tuple[Array, Array]:
    """Return gelu(z) and its slope; erf goes off the real axis by its first derivative, which a complex step needs."""
    x, step = np.real(z) / math.sqrt(2.0), np.imag(z) / math.sqrt(2.0)
    erf = np.vectorize(math.erf, otypes=[float])(x)
    if np.iscomplexobj(z):
        erf = erf + 2j / math.sqrt(math.pi) * np.exp(-(x**2)) * step
    below = 0.5 * (1.0 + erf)
    return z * below, below + z * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)


def size(x: Array) -> Array:
    return np.where(np.real(x) < 0.0, -x, x)


def sign(x: Array) -> Array:
    return np.asarray(np.sign(np.real(x)))


def norm(x: Array) -> Array:
    """Return the root of the sum of squares, 0 with a slope of 0 where all are 0."""
    return np.asarray(np.sqrt((x * x).sum()) if np.any(np.real(x)) else 0.0 * x.sum())


def psi(o: Options, e: Array, v: Array, delta: Array) -> Array:
    """Return the error map over 2 loss_scale, one pair."""
    if o.bias == "dot":
        return -v
    if o.bias == "lp":
        return 0.5 * o.p * e * (e * e + o.s**2) ** (o.p / 2 - 1)
    if o.bias == "huber_coordinate":
        return np.where(np.real(size(e)) < np.real(delta), e, delta * sign(e))
    if o.bias == "huber_norm":
        return e if norm(e).real < delta.real else delta * e / norm(e)
    if o.bias == "yaad_printed":
        return e if norm(e).real <= delta.real else delta * sign(e)
    if o.bias == "robust":
        return e + delta * e / np.sqrt(e @ e + o.s**2)
    return e


def steepness(o: Options, e: Array, delta: Array) -> Array:
    """Return what `mass` multiplies the curvature by."""
    if o.bias == "dot":
        return np.zeros(())
    if o.bias == "robust":
        return 1.0 + delta / np.sqrt(e @ e + o.s**2)
    if o.bias == "lp":
        # The real part alone decides which coordinate is steepest.
        j = int(np.argmax(np.real(size(e))))
        at = e[j] * e[j] + o.s**2 if o.p >= 2 else np.array(o.s**2)
        return np.asarray(0.5 * o.p * max(o.p - 1.0, 1.0 if o.p < 2 else 0.0) * at ** (o.p / 2 - 1))
    return np.ones(())


def link(o: Options, a: Array) -> Array:
    """Return the weights of one dual matrix, keys x values."""
    if o.link == "softmax":
        e = np.exp(a - np.real(a).max(0))
        return np.asarray(o.scale * e / e.sum(0))
    if o.link == "sigmoid":
        return 1.0 / (1.0 + np.exp(-a))
    if o.link == "soft_threshold":
        return soft(a, np.array(o.level))
    if o.link in ("lq", "lq_printed"):
        length = (size(a) ** o.q).sum() ** (1.0 / o.q)
        return np.asarray((sign(a) * size(a) ** (o.q - 1) if o.link == "lq" else a) / length ** (o.q - 2))
    return a


def soft(a: Array, level: Array) -> Array:
    return np.where(np.real(size(a)) > np.real(level), a - sign(a) * level, 0.0 * a)


def forward(o: Options, w: Matrices, k: Array) -> tuple[Array, Callable[[Array], Matrices]]:
    """Return the prediction of one key, and the map from a cotangent to the gradient of every matrix."""
    if o.architecture == "matrix":
        return k @ w[0], lambda u: [np.outer(k, u)]
    width = w[0].shape[1]
    straight = np.array([k[j] if j < len(k) else 0.0 * k[0] for j in range(width)])
    z = [k @ inner for inner in w[1:]]
    hidden = k
    if z:
        bent, slope = bend(z[0])
        hidden = bent * z[1] if len(z) == 2 else bent
    raw = hidden @ w[0]
    jacobian = np.eye(width)
    if o.architecture.endswith("norm"):
        deviation = np.sqrt(((raw - raw.mean()) ** 2).mean() + 1e-6)
        unit = (raw - raw.mean()) / deviation
        jacobian = (np.eye(width) - 1.0 / width - np.outer(unit, unit) / width) / deviation
        raw = unit

    def back(u: Array) -> Matrices:
        r = u @ jacobian
        if not z:
            return [np.outer(k, r)]
        far = w[0] @ r
        if len(z) == 1:
            return [np.outer(hidden, r), np.outer(k, far * slope)]
        return [np.outer(hidden, r), np.outer(k, far * slope * z[1]), np.outer(k, far * bent)]

    return straight + raw, back


def bound(o: Options, w: Matrices, k: Array, e: Array) -> Array:
    """Return kappa, the bound of the curvature of the squared error, of one pair."""
    square, turning, hidden = k @ k, np.zeros(()), k
    if o.architecture == "matrix":
        return np.asarray(square)
    inside = square
    if len(w) > 1:
        hidden, slope = bend(k @ w[1])
        inside = hidden @ hidden + square * (slope**2 @ (w[0] ** 2).sum(1))
        turning = 1.13 * norm(k) * norm(e)
    if not o.architecture.endswith("norm"):
        return np.asarray(inside + turning)
    raw, width = hidden @ w[0], w[0].shape[1]
    deviation = np.sqrt(((raw - raw.mean()) ** 2).mean() + 1e-6)
    return np.asarray(inside / deviation**2 * (1.0 + 2.0 / math.sqrt(3.0 * width) * norm(e)) + turning / deviation)


def pair_gradient(o: Options, w: Matrices, k: Array, v: Array, delta: Array) -> Matrices:
    """Return the gradient of one pair over 2 loss_scale."""
    prediction, back = forward(o, w, k)
    u = psi(o, prediction - v, v, delta)
    if o.mass:
        kappa = bound(o, w, k, prediction - v) * steepness(o, prediction - v, delta)
        u = u / kappa if kappa.real > 1.0 else u
    return back(u)


@dataclass
class Cell:
    """One row and head: dual state, momentum, anchor, pairs seen, window weights that wait."""

    dual: Matrices
    momentum: Matrices
    anchor: Matrices
    pairs: list[tuple[Array, Array]]
    waiting: list[Array]
    position: int = 0


def start(initial: Matrices) -> Cell:
    return Cell(list(initial), [0.0 * m for m in initial], list(initial), [], [])


def token(o: Options, cell: Cell, x: dict[str, Array]) -> Array:
    """Write one token and return its read."""
    if cell.position % o.chunk == 0:
        cell.anchor = list(cell.dual)
    read = forward(o, [link(o, a) for a in cell.dual], x["queries"])[0] if o.read == "pre" else None
    cell.pairs.append((x["keys"], x["values"]))
    cell.waiting.append(x["window_weights"] * 2.0 * o.loss_scale / (o.window if o.mass else 1))
    if (cell.position + 1) % o.every == 0:
        write(o, cell, x)
        cell.waiting = []
    cell.position += 1
    return forward(o, [link(o, a) for a in cell.dual], x["queries"])[0] if read is None else read


def write(o: Options, cell: Cell, x: dict[str, Array]) -> None:
    decay = np.exp(x["log_retention"])
    decay = decay[None, :] if o.gate_axis == "rows" else decay[:, None]
    theta = 0.0 if o.rule == "delta" else np.exp(x["log_momentum"])
    eta, fresh = x["step_size"], np.ones(())
    if o.mass:
        horizon = 0.0 if o.rule == "delta" else 9.0
        eta, fresh = eta / (o.chunk + o.every * horizon), np.asarray(1.0 - theta)
    kept = [decay * a for a in cell.dual]
    place = kept if "retained" in o.error_at or o.algorithm == "implicit" else [link(o, a) for a in cell.anchor]
    total = [0.0 * a for a in cell.dual]
    for lag, gamma in enumerate(reversed(cell.waiting)):
        for age in range(o.window):
            if lag + age > cell.position:
                break
            k, v = cell.pairs[-1 - lag - age]
            share = gamma[age]
            if o.algorithm == "implicit":
                share = share / (1.0 + eta * share * (k @ k))
            for g, part in zip(total, pair_gradient(o, place, k, v, x["threshold"]), strict=True):
                g += share * part
    inside = o.rule in STEP_INSIDE
    intake, release = (-fresh * eta, np.ones(())) if inside else (fresh, -eta)
    cell.momentum = [theta * s + intake * g for s, g in zip(cell.momentum, total, strict=True)]
    cell.dual = [m + release * s for m, s in zip(kept, cell.momentum, strict=True)]
    if o.retention == "proximal_elastic":
        cell.dual = [soft(a, o.level * eta) for a in cell.dual]


def canonical(o: Options, a: Array) -> Array:
    return np.log(link(o, a) / o.scale) if o.link == "softmax" else a


def run(o: Options, inputs: dict[str, Array], initial: Matrices, reset: Array) -> dict[str, Array]:
    """Return reads [batch, time, heads, values] and the last weights, momentum and anchor, values x keys."""
    batch, time, heads = inputs["keys"].shape[:3]
    kind = np.result_type(*inputs.values(), *initial)
    reads = np.zeros((batch, time, heads, inputs["values"].shape[-1]), kind)
    found: dict[str, Array] = {"reads": reads}
    for b, h in np.ndindex(batch, heads):
        first = [matrix[h].T.astype(kind) for matrix in initial]
        cell = start(first)
        for t in range(time):
            if reset[b, t]:
                cell = start(first)
            reads[b, t, h] = token(o, cell, {name: value[b, t, h] for name, value in inputs.items()})
        for i in range(len(initial)):
            left = {"weights": canonical(o, cell.dual[i]), "momentum": cell.momentum[i]}
            for name, matrix in (left | {"anchor": canonical(o, cell.anchor[i])}).items():
                whole = found.setdefault(f"{name}.{i}", np.zeros((batch, heads, *matrix.T.shape), kind))
                whole[b, h] = matrix.T
    return found

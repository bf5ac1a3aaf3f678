"""Named models whose memory is an MLP, or stands behind a LayerNorm, as recurrences of a few lines, one row and head.

States are keys x values, so a read is q @ S; decays come as logarithms. Nothing here comes from `atlas_ref`.
Each takes [time, .] arrays by name and constants, and returns reads [time, values]; writes come before reads.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from spec_tests.package.memory.linear_models import Arrays
from spec_tests.port import Array


def gelu(z: Array) -> tuple[Array, Array]:
    """Return z Phi(z) and its slope; off the real axis by the first derivative of erf."""
    erf = np.vectorize(math.erf, otypes=[float])(z.real / math.sqrt(2.0)) + 0.0 * z
    if np.iscomplexobj(z):
        erf = erf.real + 1j * z.imag * math.sqrt(2.0 / math.pi) * np.exp(-(z.real**2) / 2.0)
    below, density = 0.5 * (1.0 + erf), np.exp(-(z**2) / 2.0) / math.sqrt(2.0 * math.pi)
    return z * below, below + z * density


def unit(z: Array) -> tuple[Array, Array]:
    """Return LN(z), and its Jacobian."""
    n, deviation = len(z), np.sqrt(((z - z.mean()) ** 2).mean() + 1e-6)
    found = (z - z.mean()) / deviation
    return found, (np.eye(n) - 1.0 / n - np.outer(found, found) / n) / deviation


def straight(x: Array, width: int) -> Array:
    return np.array([x[j] if j < len(x) else 0.0 * x[0] for j in range(width)])


def ttt_linear(x: Arrays, o: dict[str, Any]) -> Array:
    """TTT-Linear 2407.04620: f(x) = x + LN(x W), descended in batches of `chunk` tokens at the batch's first W."""
    w = anchor = x["initial.0"].T.copy()
    reads = []
    for t, (q, k, v, eta) in enumerate(zip(x["q"], x["k"], x["v"], x["eta"], strict=True)):
        anchor = w if t % o["chunk"] == 0 else anchor
        out, jacobian = unit(k @ anchor)
        w = w - eta * np.outer(k, jacobian @ (straight(k, len(v)) + out - v))
        reads.append(straight(q, len(v)) + unit(q @ w)[0])
    return np.array(reads)


def ttt_mlp(x: Arrays, o: dict[str, Any]) -> Array:
    """TTT-MLP 2407.04620: the same with two layers, f(x) = x + LN(gelu(x A) B)."""
    b0, a0 = b, a = x["initial.0"].T.copy(), x["initial.1"].T.copy()
    reads = []
    for t, (q, k, v, eta) in enumerate(zip(x["q"], x["k"], x["v"], x["eta"], strict=True)):
        b0, a0 = (b, a) if t % o["chunk"] == 0 else (b0, a0)
        hidden, slope = gelu(k @ a0)
        out, jacobian = unit(hidden @ b0)
        miss = jacobian @ (straight(k, len(v)) + out - v)
        b, a = b - eta * np.outer(hidden, miss), a - eta * np.outer(k, (b0 @ miss) * slope)
        reads.append(straight(q, len(v)) + unit(gelu(q @ a)[0] @ b)[0])
    return np.array(reads)


def residual_mlp(x: Array, b: Array, a: Array) -> Array:
    return np.asarray(straight(x, b.shape[1]) + gelu(x @ a)[0] @ b)


def mlp_slopes(k: Array, v: Array, b: Array, a: Array) -> tuple[Array, Array]:
    """Return the gradient of 1/2 ||k + gelu(k A) B - v||^2 in B and A."""
    hidden, slope = gelu(k @ a)
    miss = straight(k, len(v)) + hidden @ b - v
    return np.outer(hidden, miss), np.outer(k, (b @ miss) * slope)


def titans_lmm(x: Arrays, o: dict[str, Any]) -> Array:
    """Titans 2501.00663 Eq. 9-14: S = eta S - theta grad, M = (1 - forget) M + S, on an MLP, in chunks."""
    b0, a0 = b, a = x["initial.0"].T.copy(), x["initial.1"].T.copy()
    reads = []
    sb, sa = 0.0 * b, 0.0 * a
    columns = (x["q"], x["k"], x["v"], x["eta"], x["momentum"], x["log_head"])
    for t, (q, k, v, theta, eta, log) in enumerate(zip(*columns, strict=True)):
        b0, a0 = (b, a) if t % o["chunk"] == 0 else (b0, a0)
        gb, ga = mlp_slopes(k, v, b0, a0)
        sb, sa = eta * sb - theta * gb, eta * sa - theta * ga
        b, a = np.exp(log) * b + sb, np.exp(log) * a + sa
        reads.append(residual_mlp(q, b, a))
    return np.array(reads)


def omeganet(x: Arrays, o: dict[str, Any]) -> Array:
    """OmegaNet, ATLAS 2505.23735 Eq. 9-10: the loss of the last c pairs, each with its weight; no momentum."""
    b0, a0 = b, a = x["initial.0"].T.copy(), x["initial.1"].T.copy()
    reads = []
    for t, (q, eta, log) in enumerate(zip(x["q"], x["eta"], x["log_head"], strict=True)):
        b0, a0 = (b, a) if t % o["chunk"] == 0 else (b0, a0)
        found = [mlp_slopes(x["k"][t - i], x["v"][t - i], b0, a0) for i in range(min(o["window"], t + 1))]
        b, a = (
            np.exp(log) * m - eta * sum(x["gamma"][t, i] * part[j] for i, part in enumerate(found))
            for j, m in enumerate((b, a))
        )
        reads.append(residual_mlp(q, b, a))
    return np.array(reads)


def newton_schulz(s: Array, steps: int) -> Array:
    """Return five or so quintic steps from S / ||S||, on a wide matrix."""
    x = s.T if s.shape[0] > s.shape[1] else s
    x = x / (np.sqrt((x * x).sum()) + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return np.asarray(x.T if s.shape[0] > s.shape[1] else x)


def atlas(x: Arrays, o: dict[str, Any]) -> Array:
    """ATLAS 2505.23735 Eq. 32-33: S = theta S + grad of the Omega loss, M = alpha M - eta NS(S)."""
    b0, a0 = b, a = x["initial.0"].T.copy(), x["initial.1"].T.copy()
    reads = []
    s = [0.0 * b, 0.0 * a]
    columns = (x["q"], x["eta"], x["momentum"], x["log_head"])
    for t, (q, eta, theta, log) in enumerate(zip(*columns, strict=True)):
        b0, a0 = (b, a) if t % o["chunk"] == 0 else (b0, a0)
        found = [mlp_slopes(x["k"][t - i], x["v"][t - i], b0, a0) for i in range(min(o["window"], t + 1))]
        s = [theta * s[j] + sum(x["gamma"][t, i] * part[j] for i, part in enumerate(found)) for j in range(2)]
        b, a = (np.exp(log) * m - eta * newton_schulz(s[j], o["steps"]) for j, m in enumerate((b, a)))
        reads.append(residual_mlp(q, b, a))
    return np.array(reads)


def normed_mlp(x: Array, b: Array, a: Array) -> Array:
    return straight(x, b.shape[1]) + unit(gelu(x @ a)[0] @ b)[0]


def normed_slopes(k: Array, v: Array, b: Array, a: Array, bend: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Return the slopes in B and A of k + LN(gelu(k A) B) whose error e has the slope bend(e) in the loss."""
    hidden, slope = gelu(k @ a)
    out, jacobian = unit(hidden @ b)
    miss = jacobian @ bend(straight(k, len(v)) + out - v)
    return np.outer(hidden, miss), np.outer(k, (b @ miss) * slope)


def miras(x: Arrays, o: dict[str, Any], bend: Callable[..., Array], link: Callable[[Array], Array]) -> Array:
    """MIRAS 2504.13173 section 5.3: A = alpha A - eta grad at W, W = link(A), on the MLP behind a LayerNorm."""
    b0, a0 = b, a = x["initial.0"].T.copy(), x["initial.1"].T.copy()
    reads = []
    columns = (x["q"], x["k"], x["v"], x["eta"], x["threshold"], x["log_head"])
    for t, (q, k, v, eta, delta, log) in enumerate(zip(*columns, strict=True)):
        b0, a0 = (link(b), link(a)) if t % o["chunk"] == 0 else (b0, a0)
        gb, ga = normed_slopes(k, v, b0, a0, partial(bend, delta=delta))
        b, a = np.exp(log) * b - eta * gb, np.exp(log) * a - eta * ga
        reads.append(normed_mlp(q, link(b), link(a)))
    return np.array(reads)


def moneta(x: Arrays, o: dict[str, Any]) -> Array:
    """Moneta (p = 3, q = 4), Eq. 24 with the exact mirror map: A |A|^{q-2} / ||A||_q^{q-2}."""
    p, q, s = o["p"], o["q"], o["s"]
    return miras(
        x,
        o,
        lambda e, delta: 0.5 * p * e * (e * e + s * s) ** (p / 2.0 - 1.0),
        lambda m: m * (m * m) ** (q / 2.0 - 1.0) / ((m * m) ** (q / 2.0)).sum() ** ((q - 2.0) / q),
    )


def yaad(x: Arrays, o: dict[str, Any]) -> Array:
    """Yaad, Eq. 26 with a continuous switch: the error, shortened to the length delta where it is longer."""

    def bend(e: Array, delta: Array) -> Array:
        length = np.sqrt(e @ e)
        return e if length.real <= delta.real else e * delta / length

    return miras(x, o, bend, lambda m: m)


def memora(x: Arrays, o: dict[str, Any]) -> Array:
    """Memora, Eq. 27 as printed: W = c softmax(alpha log W - eta grad), each output's weights over its inputs."""

    def settled(logits: Array) -> Array:
        found = np.exp(logits - logits.real.max(0))
        return np.asarray(o["scale"] * found / found.sum(0))

    b0, a0 = b, a = settled(x["initial.0"].T), settled(x["initial.1"].T)
    reads = []
    columns = (x["q"], x["k"], x["v"], x["eta"], x["log_head"])
    for t, (q, k, v, eta, log) in enumerate(zip(*columns, strict=True)):
        b0, a0 = (b, a) if t % o["chunk"] == 0 else (b0, a0)
        gb, ga = normed_slopes(k, v, b0, a0, lambda e: e)
        b, a = settled(np.exp(log) * np.log(b) - eta * gb), settled(np.exp(log) * np.log(a) - eta * ga)
        reads.append(normed_mlp(q, b, a))
    return np.array(reads)

"""Named models whose memory is a matrix, as recurrences of a few lines, one row and head, as their papers have them.

States are keys x values, so a read is q @ S; decays come as logarithms. Nothing here comes from `atlas_ref`.
Each takes [time, .] arrays by name and constants, and returns reads [time, values]; writes come before reads.
"""

from typing import Any

import numpy as np

from spec_tests.port import Array

Arrays = dict[str, Array]


def linear_attention(x: Arrays, o: dict[str, Any]) -> Array:
    """Katharopoulos et al. 2006.16236, without normaliser: S += k v^T."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v in zip(x["q"], x["k"], x["v"], strict=True):
        s = s + np.outer(k, v)
        reads.append(q @ s)
    return np.array(reads)


def retnet(x: Arrays, o: dict[str, Any]) -> Array:
    """RetNet 2307.08621 Eq. 6, Lightning attention: S = gamma S + k v^T with a constant of the head."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v in zip(x["q"], x["k"], x["v"], strict=True):
        s = (1.0 - 2.0 ** (-5.0 - o["head"])) * s + np.outer(k, v)
        reads.append(q @ s)
    return np.array(reads)


def mamba2(x: Arrays, o: dict[str, Any]) -> Array:
    """Mamba-2 2405.21060 (SSD): h = exp(Delta A) h + Delta B x^T, y = C h; A < 0 is a number of the head."""
    h, reads = x["initial.0"].T.copy(), []
    for c, b, u, delta in zip(x["q"], x["k"], x["v"], x["delta"], strict=True):
        h = np.exp(-delta * o["rate"]) * h + delta * np.outer(b, u)
        reads.append(c @ h)
    return np.array(reads)


def gla(x: Arrays, o: dict[str, Any]) -> Array:
    """Gated linear attention 2312.06635 Eq. 3: S = diag(exp g) S + k v^T, a gate of each key feature."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v, g in zip(x["q"], x["k"], x["v"], x["log_features"], strict=True):
        s = np.exp(g)[:, None] * s + np.outer(k, v)
        reads.append(q @ s)
    return np.array(reads)


def deltanet(x: Arrays, o: dict[str, Any]) -> Array:
    """DeltaNet 2406.06484: S = (I - beta k k^T) S + beta k v^T."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v, beta in zip(x["q"], x["k"], x["v"], x["beta"], strict=True):
        s = s - beta * np.outer(k, k) @ s + beta * np.outer(k, v)
        reads.append(q @ s)
    return np.array(reads)


def gated_deltanet(x: Arrays, o: dict[str, Any]) -> Array:
    """Gated DeltaNet 2412.06464 Eq. 10: S = alpha (I - beta k k^T) S + beta k v^T."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v, beta, g in zip(x["q"], x["k"], x["v"], x["beta"], x["log_head"], strict=True):
        s = np.exp(g) * (s - beta * np.outer(k, k @ s)) + beta * np.outer(k, v)
        reads.append(q @ s)
    return np.array(reads)


def kda(x: Arrays, o: dict[str, Any]) -> Array:
    """Kimi delta attention 2510.26692 Eq. 1: S = (I - beta k k^T) diag(alpha) S + beta k v^T."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v, beta, g in zip(x["q"], x["k"], x["v"], x["beta"], x["log_features"], strict=True):
        s = np.exp(g)[:, None] * s
        s = s + beta * np.outer(k, v - k @ s)
        reads.append(q @ s)
    return np.array(reads)


def longhorn(x: Arrays, o: dict[str, Any]) -> Array:
    """Longhorn 2407.14207 Eq. 5, scalar beta: argmin ||S - S'||^2 + beta ||k S - v||^2, solved as a linear system."""
    s, reads = x["initial.0"].T.copy(), []
    for q, k, v, beta in zip(x["q"], x["k"], x["v"], x["beta"], strict=True):
        s = np.linalg.solve(np.eye(len(k)) + beta * np.outer(k, k), s + beta * np.outer(k, v))
        reads.append(q @ s)
    return np.array(reads)


def mesa(x: Arrays, o: dict[str, Any]) -> Array:
    """MesaNet 2506.05233 Eq. 7: o = G (H + Lambda)^{-1} q with H = gamma H + beta k k^T, G = gamma G + beta v k^T."""
    h, g, reads = np.zeros((x["k"].shape[1],) * 2), np.zeros((x["k"].shape[1], x["v"].shape[1])), []
    for q, k, v, beta, log in zip(x["q"], x["k"], x["v"], x["beta"], x["log_head"], strict=True):
        h, g = np.exp(log) * h + beta * np.outer(k, k), np.exp(log) * g + beta * np.outer(k, v)
        reads.append(np.linalg.solve(h + np.diag(x["ridge"]), q) @ g)
    return np.array(reads)

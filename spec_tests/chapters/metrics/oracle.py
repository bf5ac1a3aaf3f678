"""The metrics of circularity a second time: sums over sines and cosines, eigenvectors, normal equations."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import GRADIENTS, Array, Op, UnsupportedError


def concentration(embedding: Array, top: int, sums: Sums = ANY_ORDER) -> Array:
    """Return the share of the strongest frequencies, by explicit sums."""
    numbers = len(embedding)
    energies = []
    for k in range(1, numbers):
        angles = 2.0 * np.pi * k * np.arange(numbers) / numbers
        waves = (wave.astype(embedding.real.dtype) for wave in (np.cos(angles), np.sin(angles)))
        parts = np.concatenate([sums.matvec(embedding.T, wave) for wave in waves])
        energies.append(sums.dot(parts, parts))
    # k and p - k are one frequency.
    pairs = [sum(energies[j - 1] for j in {k, numbers - k}) for k in range(1, numbers // 2 + 1)]
    total, strongest = sums.total(np.array(pairs)), sorted(pairs, key=np.real)[-top:]
    return sums.total(np.array(strongest)) / total if total.real > 0 else np.zeros_like(total)


def circle(embedding: Array, permutations: Array, sums: Sums = ANY_ORDER) -> tuple[Array, Array, Array]:
    """Return fit, order and null."""
    centred = embedding - embedding.mean(0)
    _, vectors = np.linalg.eigh(sums.matmul(centred.T, centred))
    z = sums.matmul(centred, vectors[:, ::-1][:, :2])
    design = np.concatenate([2.0 * z, np.ones_like(z[:, :1])], axis=1)
    solution = np.linalg.solve(sums.matmul(design.T, design), sums.matvec(design.T, sums.dot(z, z)))
    radius = np.sqrt(solution[2] + solution[0] ** 2 + solution[1] ** 2)
    distance = np.hypot(*(z - solution[:2]).T)
    fit = max(0.0, 1.0 - np.sqrt(((distance - radius) ** 2).mean()) / radius)
    angle = np.arctan2(z[:, 1] - solution[1], z[:, 0] - solution[0])
    return np.asarray(fit), np.asarray(order(angle)), np.array([order(angle[other]) for other in permutations])


def order(angle: Array) -> float:
    """Return how far the angles follow one frequency."""
    numbers = np.arange(len(angle))
    phases = [angle - 2.0 * np.pi * k * numbers / len(angle) for k in range(1, len(angle))]
    return max(float(np.abs(np.exp(1j * phase).mean())) for phase in phases)


def _fourier_concentration(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"concentration": concentration(x["embedding"], int(config["top"]), sums)}


def _circular_fit(_: Config, x: Arrays, sums: Sums) -> Arrays:
    if np.iscomplexobj(x["embedding"]):
        raise UnsupportedError("eigenvectors are not differentiated by a complex step", capability=GRADIENTS)
    fit, order, null = circle(x["embedding"], x["permutations"], sums)
    return {"fit": fit, "order": order, "null": null}


ANSWERS: Final[Mapping[Op, Function]] = {
    Op.FOURIER_CONCENTRATION: _fourier_concentration,
    Op.CIRCULAR_FIT: _circular_fit,
}

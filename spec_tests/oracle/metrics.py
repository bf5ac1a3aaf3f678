"""The metrics of circularity a second time: sums over sines and cosines, eigenvectors, normal equations."""

import numpy as np

from spec_tests.port import Array


def concentration(embedding: Array, top: int) -> Array:
    """Return the share of the strongest frequencies, by explicit sums."""
    numbers = len(embedding)
    energies = []
    for k in range(1, numbers):
        angles = 2.0 * np.pi * k * np.arange(numbers) / numbers
        energies.append(((np.cos(angles) @ embedding) ** 2).sum() + ((np.sin(angles) @ embedding) ** 2).sum())
    # k and p - k are one frequency.
    pairs = [sum(energies[j - 1] for j in {k, numbers - k}) for k in range(1, numbers // 2 + 1)]
    total = sum(pairs)
    return np.asarray(sum(sorted(pairs)[-top:]) / total if total > 0 else 0.0)


def circle(embedding: Array, permutations: Array) -> tuple[Array, Array, Array]:
    """Return fit, order and null."""
    centred = embedding - embedding.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    z = centred @ vectors[:, ::-1][:, :2]
    design = np.concatenate([2.0 * z, np.ones((len(z), 1))], axis=1)
    solution = np.linalg.solve(design.T @ design, design.T @ (z**2).sum(1))
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

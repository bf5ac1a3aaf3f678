"""The metrics of circularity in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors, root


def _fourier_concentration(top: Hashable, _: Any, x: Tensors) -> Tensors:
    numbers = x["embedding"].shape[0]
    energy = jnp.sum(jnp.abs(jnp.fft.fft(x["embedding"], axis=0)) ** 2, axis=1)
    frequencies = np.arange(1, numbers // 2 + 1)
    # A frequency and its mirror image; half the numbers is its own.
    mirrored = jnp.where(2 * frequencies == numbers, 0.0, energy[numbers - frequencies])
    strengths = jnp.sort(energy[frequencies] + mirrored)[::-1]
    total = jnp.sum(strengths)
    assert isinstance(top, int)
    return {"concentration": jnp.where(total > 0, jnp.sum(strengths[:top]) / jnp.where(total > 0, total, 1.0), 0.0)}


def _order(angles: Array) -> Array:
    """Return the largest |mean exp(i (theta_n - 2 pi k n / p))| over k = 1 .. p-1."""
    return jnp.max(jnp.abs(jnp.fft.fft(jnp.exp(1j * angles)))[1:]) / len(angles)


def _circular_fit(_: Hashable, __: Any, x: Tensors) -> Tensors:
    centred = x["embedding"] - jnp.mean(x["embedding"], axis=0)
    plane = jnp.linalg.svd(centred, full_matrices=False)[2][:2]
    points = centred @ plane.T
    # |z|^2 = 2 c.z + (r^2 - |c|^2) in least squares.
    system = jnp.concatenate([2.0 * points, jnp.ones((len(points), 1), points.dtype)], axis=1)
    solution = jnp.linalg.lstsq(system, jnp.sum(points**2, axis=1))[0]
    centre, radius = solution[:2], root(solution[2] + jnp.sum(solution[:2] ** 2))
    offsets = points - centre
    deviation = root(jnp.mean((root(jnp.sum(offsets**2, axis=1)) - radius) ** 2))
    angles = jnp.arctan2(offsets[:, 1], offsets[:, 0])
    return {
        "fit": jnp.maximum(0.0, 1.0 - deviation / radius),
        "order": _order(angles),
        "null": jax.vmap(lambda permutation: _order(angles[permutation]))(x["permutations"]),
    }


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.FOURIER_CONCENTRATION: Implementation(_fourier_concentration, lambda config, *_: (config["top"], ())),
    Op.CIRCULAR_FIT: Implementation(_circular_fit, lambda *_: (None, ())),
}

"""The operations around the memory in jax: StableMax, running mean, gate of the MAG block, halting, circularity."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.port import Op
from spec_tests.ports.jax_arrays import Implementation, Tensors, root


def _stablemax(_: Hashable, __: Any, x: Tensors) -> Tensors:
    logits = x["x"]
    share = jnp.where(logits >= 0, logits + 1.0, 1.0 / (1.0 - jnp.minimum(logits, 0.0)))
    # The sum of three entries of 3e38 is no float32, and the inverse of one is none for XLA, which flushes it to zero.
    scaled = share * jnp.where(jnp.max(share, axis=-1, keepdims=True) > 1e18, 1e-18, 1.0)
    return {"probabilities": scaled / jnp.sum(scaled, axis=-1, keepdims=True)}


def _ltm_scan(_: Hashable, options: tuple[Array, Array], x: Tensors) -> Tensors:
    decay, count = options

    def row(tokens: Array, carry: Array, position: Array) -> tuple[Array, Array]:
        def token(mean: Array, seen: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            entry, place, there = seen
            after = decay * jnp.where(place == 0, 0.0, mean) + (1.0 - decay) * entry
            return jnp.where(there, after, mean), after

        return lax.scan(token, carry, (tokens, position, jnp.arange(len(tokens)) < count))

    carry, y = jax.vmap(row)(x["x"], x["carry"], x["position"])
    return {"carry": carry, "y": y}


def _mag_gate(kind: Hashable, floor: Array, x: Tensors) -> Tensors:
    raw = x["attention"] if kind == "source" else x["logits"]
    gate = floor + (1.0 - floor) * jax.nn.sigmoid(raw)
    if kind == "source":
        return {"gate": gate, "joined": gate * x["memory"]}
    return {"gate": gate, "joined": gate * x["attention"] + (1.0 - gate) * x["memory"]}


def _act_halt(_: Hashable, threshold: Array, x: Tensors) -> Tensors:
    def row(chances: Array) -> tuple[Array, Array, Array]:
        # One after the other, so that a sum that is exactly the threshold is exactly that.
        sums = lax.scan(lambda total, chance: (total + chance, total + chance), jnp.zeros_like(chances[0]), chances)[1]
        steps = np.arange(len(chances))
        last = jnp.argmax((sums >= threshold) | (steps == len(chances) - 1))
        remainder = 1.0 - jnp.sum(jnp.where(steps < last, chances, 0.0))
        weights = jnp.where(steps < last, chances, jnp.where(steps == last, remainder, 0.0))
        return last + 1, weights, (last + 1).astype(chances.dtype) + remainder

    halted, weights, ponder = jax.vmap(row)(x["probabilities"])
    return {"halted": halted, "weights": weights, "ponder": ponder}


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


AROUND: Final[Mapping[Op, Implementation]] = {
    Op.STABLEMAX: Implementation(_stablemax, lambda *_: (None, ())),
    Op.LTM_SCAN: Implementation(_ltm_scan, lambda config, _, lengths: (None, (config["decay"], lengths["time"]))),
    Op.MAG_GATE: Implementation(_mag_gate, lambda config, *_: (config["kind"], config["floor"])),
    Op.ACT_HALT: Implementation(_act_halt, lambda config, *_: (None, config["threshold"])),
    Op.FOURIER_CONCENTRATION: Implementation(_fourier_concentration, lambda config, *_: (config["top"], ())),
    Op.CIRCULAR_FIT: Implementation(_circular_fit, lambda *_: (None, ())),
}

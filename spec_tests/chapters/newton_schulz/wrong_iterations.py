"""Newton-Schulz done wrongly: the iteration with another step, another start or another end."""

from collections.abc import Callable

import numpy as np

from spec_tests.chapters.newton_schulz.oracle import PUBLISHED, coefficients_of
from spec_tests.faults.fault import Arrays, Config, Wrap, with_outputs
from spec_tests.port import Array

Step = Callable[[Array, float, float, float], Array]
QUINTIC = (3.4445, -4.7750, 2.0315)


def left_product(x: Array, a: float, b: float, c: float) -> Array:
    gram = x @ np.swapaxes(x, -1, -2)
    return np.asarray(a * x + (b * gram + c * gram @ gram) @ x)


def right_product(x: Array, a: float, b: float, c: float) -> Array:
    """Multiply from the wrong side, which only a square matrix survives."""
    if x.shape[-2] != x.shape[-1]:
        return left_product(x, a, b, c)
    gram = x @ np.swapaxes(x, -1, -2)
    return np.asarray(a * x + x @ (b * gram + c * gram @ gram))


def square_product(x: Array, a: float, b: float, c: float) -> Array:
    """Use X X where X X^T is meant."""
    if x.shape[-2] != x.shape[-1]:
        return left_product(x, a, b, c)
    gram = x @ x
    return np.asarray(a * x + (b * gram + c * gram @ gram) @ x)


def iterated(step: Step, norm: Callable[[Array], Array]) -> Wrap:
    """Replace the quintic iteration by one with another step or another norm."""

    def change(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
        if config["coefficients"] != "quintic":
            return {}
        x = inputs["matrix"].astype(np.float64)
        tall = x.shape[-2] > x.shape[-1]
        x = np.swapaxes(x, -1, -2) if tall else x
        x = x / (norm(x) + 1e-7)
        for _step in range(int(config["steps"])):
            x = np.clip(step(x, *QUINTIC), -1e30, 1e30)
        return {"orthogonal": np.swapaxes(x, -1, -2) if tall else x}

    return with_outputs(change)


def norm_of_each(x: Array) -> Array:
    return np.asarray(np.sqrt((x**2).sum((-2, -1), keepdims=True)))


def norm_of_batch(x: Array) -> Array:
    return np.asarray(np.sqrt((x**2).mean(0, keepdims=True).sum((-2, -1), keepdims=True)))


def iterate(x: Array, name: str, steps: int) -> Array:
    for step in range(steps):
        a, b, c = coefficients_of(name, step)
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def frobenius(x: Array) -> Array:
    return np.asarray(np.sqrt((x**2).sum((-2, -1), keepdims=True)))


def _spectral(x: Array) -> Array:
    return np.asarray(np.linalg.svd(x, compute_uv=False).max(-1)[..., None, None])


def started(config: Config, inputs: Arrays, _: Arrays, *, spectral: bool = False, offset: float = 1e-7) -> Arrays:
    """Run the iteration from another start: divided by the spectral norm, or with another offset."""
    matrix = inputs["matrix"].astype(np.float64)
    length = _spectral(matrix) if spectral else frobenius(matrix)
    return {"orthogonal": iterate(matrix / (length + offset), str(config["coefficients"]), int(config["steps"]))}


def cycling(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    """Begin the set of coefficients again where it ends."""
    if config["coefficients"] != "polar_express":
        return {}
    matrix = inputs["matrix"].astype(np.float64)
    x = matrix / (frobenius(matrix) + 1e-7)
    for step in range(int(config["steps"])):
        a, b, c = coefficients_of("polar_express", step % len(PUBLISHED))
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return {"orthogonal": x}


def uncushioned(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    """Use the published coefficients as they are printed, without the safety factor of 1.01."""
    if config["coefficients"] != "polar_express":
        return {}
    matrix = inputs["matrix"].astype(np.float64)
    x = matrix / (frobenius(matrix) + 1e-7)
    for step in range(int(config["steps"])):
        a, b, c = PUBLISHED[min(step, len(PUBLISHED) - 1)]
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return {"orthogonal": x}


def of_the_set(
    config: Config, inputs: Arrays, _: Arrays, *, late: int = 0, always: bool = False, start: float = 1.0
) -> Arrays:
    """Run `polar_express` with the coefficients of an earlier step, a cushion in every step, or one at the start."""
    if config["coefficients"] != "polar_express":
        return {}
    matrix = inputs["matrix"].astype(np.float64)
    x = matrix / (start * frobenius(matrix) + 1e-7)
    for step in range(int(config["steps"])):
        a, b, c = coefficients_of("polar_express", max(step - late, 0))
        if always and step >= len(PUBLISHED) - 1:
            a, b, c = a / 1.01, b / 1.01**3, c / 1.01**5
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return {"orthogonal": x}


def tiled(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Leave out what lies beyond the first tile of 128 rows and columns."""
    kept = outputs["orthogonal"].copy()
    if min(kept.shape[1:]) > 128:
        kept[:, 128:, 128:] = 0.0
    return {"orthogonal": kept}

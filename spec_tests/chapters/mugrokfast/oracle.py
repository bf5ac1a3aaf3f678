"""docs/spec/mugrokfast.md in numpy: one function a part, so that a seeded fault is one part done wrongly."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.optimisers.oracle import clip_factor, muon, perpendicular
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op

QUINTIC: Final[Config] = {"coefficients": "quintic", "newton_schulz_steps": 5, "start": "add"}


def norm_of(gradients: list[Array], sums: Sums = FORWARD) -> Array:
    """Return the norm over all entries of all gradients."""
    return sums.norm(np.concatenate([gradient.ravel() for gradient in gradients]))


def shortened(gradients: list[Array], clip: float, sums: Sums = FORWARD) -> list[Array]:
    """Return gradients clipped to a norm over all of them together; 0 is no bound."""
    norm = norm_of(gradients, sums)
    return [gradient * (clip / norm) if clip and norm > clip else gradient for gradient in gradients]


def sideways(weight: Array, gradient: Array, on: bool, sums: Sums = FORWARD) -> Array:
    """Return the gradient, or its part that is orthogonal to the weight at its length."""
    return perpendicular(weight, gradient, True, sums) if on else gradient


def filtered(config: Config, gradient: Array, slow: Array, updates: int) -> tuple[Array, Array]:
    """Return (filtered gradient, its slow part); before the first update there is no slow part."""
    alpha = float(config["alpha"]) if updates else 0.0
    slow = alpha * slow + (1.0 - alpha) * gradient
    return gradient + float(config["strength"]) * slow, slow


def matrix_step(
    config: Config, rate: float, weight: Array, buffer: Array, gradient: Array, sums: Sums
) -> tuple[Array, Array]:
    """Return (weight, buffer) after a step of Muon."""
    return muon(weight, buffer, gradient, {**config, **QUINTIC, "learning_rate": rate}, sums)


def adamw(
    config: Config, rate: float, weight: Array, mean: Array, square: Array, gradient: Array, count: int, decay: float
) -> tuple[Array, Array, Array]:
    """Return (weight, mean, square) after update number `count` of AdamW."""
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    mean = beta1 * mean + (1.0 - beta1) * gradient
    square = beta2 * square + (1.0 - beta2) * gradient * gradient
    step = (mean / (1.0 - beta1**count)) / (np.sqrt(square / (1.0 - beta2**count)) + float(config["eps"]))
    return weight - rate * decay * weight - rate * step, mean, square


def heads_clipped(weight: Array, maximum: Array, threshold: float) -> Array:
    """Return a packed projection with queries and keys of each head times the root of its factor; 0 is no bound."""
    if not threshold:
        return weight
    parts = weight.reshape(3, len(maximum), -1, weight.shape[1])
    factor = clip_factor(maximum, threshold)[:, None, None]
    return np.concatenate([factor * parts[0], factor * parts[1], parts[2]]).reshape(weight.shape)


def averaged(average: Array, before: Array, after: Array, decay: float) -> Array:
    """Return the average with the new weights in it; as it was where there is none."""
    del before
    return decay * average + (1.0 - decay) * after if decay else average


def mugrokfast_step(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return everything after one step."""
    names = ("projection", "vector")
    gradients = shortened([x[f"{name}_gradient"] for name in names], float(config["clip"]), sums)
    after = {tensor: x[tensor] for tensor in ("buffer", "mean", "square")}
    for number, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        weight, count = x[name], int(x["updates"][number])
        after[name], after[f"{name}_slow"] = weight, x[f"{name}_slow"]
        if not gradient.any():
            continue
        gradient = sideways(weight, gradient, bool(config["perp_grad"]), sums)
        fast, after[f"{name}_slow"] = filtered(config, gradient, x[f"{name}_slow"], count)
        factor = float(config["factor"])
        if name == "projection":
            rate = factor * float(config["muon_learning_rate"])
            after[name], after["buffer"] = matrix_step(config, rate, weight, x["buffer"], fast, sums)
        else:
            rate = factor * float(config["learning_rate"])
            moved = adamw(config, rate, weight, x["mean"], x["square"], fast, count + 1, 0.0)
            after[name], after["mean"], after["square"] = moved
    after["projection"] = heads_clipped(after["projection"], x["maximum"], float(config["qk_clip"]))
    for name in names:
        average = x[f"{name}_average"]
        after[f"{name}_average"] = averaged(average, x[name], after[name], float(config["average"]))
    used = np.array([int(gradient.any()) for gradient in gradients])
    return {**after, "updates": x["updates"] + used}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MUGROKFAST_STEP: mugrokfast_step}

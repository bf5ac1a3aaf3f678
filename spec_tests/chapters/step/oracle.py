"""docs/spec/step.md in numpy, in float64 whatever the profile: one function a part, for seeded faults to replace.

Derivatives are complex steps through `step.forward`, every number of every parameter at once.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.mugrokfast.oracle import adamw, filtered, heads_clipped, matrix_step, norm_of, shortened
from spec_tests.chapters.step.forward import forward
from spec_tests.chapters.step.operation import HIDDEN, STATES
from spec_tests.chapters.step.packed import NAMES, join, split
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.complex_step import STEP
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array, Op

CONSTANT: Final = "coefficients"
Kept = dict[str, dict[str, Array]]
"""Slow part, mean and mean of squares, by parameter."""


def last(name: str) -> str:
    """Return the name of a parameter in its layer."""
    return name.rpartition(".")[2]


def is_scored(tokens: Array, reset: Array) -> Array:
    """Return which tokens of [batch, time + 1] are predicted from the one before: those that go on with a document."""
    del tokens
    return np.asarray(reset[:, 1:] == 0)


def mean_loss(losses: Array, scored: Array) -> Array:
    """Return the mean of losses [sets, batch, time] over all that are scored, 0 where none is."""
    return np.asarray(np.where(scored, losses, 0.0).sum((1, 2)) / max(1, int(scored.sum())))


def cross_entropy(logits: Array, tokens: Array) -> Array:
    """Return -log softmax(logits)[token] of every place."""
    shifted = logits - logits.real.max(-1, keepdims=True)
    picked = np.take_along_axis(shifted, np.broadcast_to(tokens, logits.shape[:3])[..., None], -1)[..., 0]
    return np.asarray(np.log(np.exp(shifted).sum(-1)) - picked)


def moved(parameters: Arrays) -> tuple[dict[str, Array], dict[str, slice]]:
    """Return sets of parameters, each with a small imaginary part in one number, and the sets that move a parameter."""
    places, count = {}, 0
    for name in NAMES:
        if last(name) != CONSTANT:
            places[name] = slice(count, count + parameters[name].size)
            count += parameters[name].size
    sets: dict[str, Array] = {}
    for name in NAMES:
        value = parameters[name]
        sets[name] = np.broadcast_to(value, (count, *value.shape)).astype(np.complex128)
        if name in places:
            sets[name][places[name]] += 1j * STEP * np.eye(value.size).reshape(value.size, *value.shape)
    return sets, places


def derivatives(
    config: Config, parameters: Arrays, states: Arrays, tokens: Array, reset: Array
) -> tuple[float, dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Return the loss, its gradients, the states after the batch and the largest logits of each layer."""
    scored = is_scored(tokens, reset)
    # A loss of no token is zero whatever the parameters: one set says the rest.
    sets, places = moved(parameters) if scored.any() else ({name: parameters[name][None] for name in NAMES}, {})
    detached = config["inner_grad"] == "detached"
    logits, after, largest = forward(sets, states, tokens[:, :-1], reset[:, :-1], detached=detached)
    losses = mean_loss(cross_entropy(logits, tokens[:, 1:]), scored)
    slopes = {name: np.zeros_like(parameters[name]) for name in NAMES if last(name) != CONSTANT}
    for name, place in places.items():
        slopes[name] = np.reshape(losses[place].imag / STEP, parameters[name].shape)
    return float(losses[0].real), slopes, after, {layer: value[0] for layer, value in largest.items()}


def handed_on(after: Arrays, before: Arrays, carry: bool) -> dict[str, Array]:
    """Return the states that the next batch begins with: those after this one without their derivatives, or the old."""
    return settled(after) if carry else dict(before)


def settled(after: Arrays) -> dict[str, Array]:
    """Return states of the parameters as they are, of all sets of them."""
    return {name: value[0].real if value.ndim > 1 else value for name, value in after.items()}


def schedule(config: Config, step: int) -> float:
    """Return the factor of every rate at update `step`, counted from 0: linear warm-up, then a cosine."""
    warmup, total, least = int(config["warmup_steps"]), int(config["total_steps"]), float(config["min_ratio"])
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return float(least + 0.5 * (1.0 - least) * (1.0 + np.cos(np.pi * progress)))


def decay_of(config: Config, name: str, value: Array) -> float:
    """Return the decay of a parameter: none for what has one axis, and none for a gain."""
    return float(config["weight_decay"]) if value.ndim > 1 and last(name) != "log_gain" else 0.0


def is_hidden(config: Config, name: str) -> bool:
    """Return whether a parameter goes to Muon."""
    return config["optimizer"] in ("muon", "mugrokfast") and last(name) in HIDDEN


def clip(gradients: Mapping[str, Array], bound: float) -> dict[str, Array]:
    """Return gradients clipped to a norm over all of them."""
    return dict(zip(gradients, shortened(list(gradients.values()), bound), strict=True))


def update(config: Config, name: str, weight: Array, kept: Kept, gradient: Array, count: int, factor: float) -> Array:
    """Return a parameter after its update number `count`, which also changes what is kept of it."""
    if config["optimizer"] == "mugrokfast":
        gradient, kept["slow"][name] = filtered(config, gradient, kept["slow"][name], count - 1)
    decay, rate = decay_of(config, name, weight), factor * float(config["learning_rate"])
    if config["optimizer"] == "sgd":
        return weight - rate * decay * weight - rate * gradient
    if is_hidden(config, name):
        rate = factor * float(config["muon_learning_rate"])
        weight, kept["mean"][name] = matrix_step(config, rate, weight, kept["mean"][name], gradient, ANY_ORDER)
        return weight
    after = adamw(config, rate, weight, kept["mean"][name], kept["square"][name], gradient, count, decay)
    weight, kept["mean"][name], kept["square"][name] = after
    return weight


def is_left_alone(gradient: Array) -> bool:
    """Return whether a gradient is none: zero throughout."""
    return not gradient.any()


def train_steps(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return losses, norms, and parameters, moments and states after all steps."""
    del sums
    parameters = {name: np.asarray(x[name], dtype=np.float64) for name in NAMES}
    kept = {what: split(np.asarray(x[what], dtype=np.float64), parameters) for what in ("slow", "mean", "square")}
    updates = dict(zip(NAMES, x["updates"].tolist(), strict=True))
    states: dict[str, Array] = {tensor.name: x[tensor.name] for tensor in STATES}
    losses, norms, after = [], [], states
    for n, (tokens, reset) in enumerate(zip(x["tokens"], x["reset"], strict=True)):
        loss, slopes, after, largest = derivatives(config, parameters, states, tokens, reset)
        losses.append(loss)
        norms.append(float(norm_of(list(slopes.values()))))
        factor = schedule(config, int(config["step0"]) + n)
        for name, gradient in clip(slopes, float(config["clip"])).items():
            if not is_left_alone(gradient):
                updates[name] += 1
                parameters[name] = update(config, name, parameters[name], kept, gradient, updates[name], factor)
        if config["optimizer"] == "mugrokfast":
            for prefix, maximum in largest.items():
                name = f"{prefix}attention_projection"
                parameters[name] = heads_clipped(parameters[name], maximum, float(config["qk_clip"]))
        states = handed_on(after, states, bool(config["carry_state"]))
    return {
        "losses": np.array(losses),
        "grad_norms": np.array(norms),
        **{what: join(arrays) for what, arrays in kept.items()},
        "updates": np.array([updates[name] for name in NAMES]),
        **(settled(after) if losses else states),
        "parameters": join(parameters),
    }


ANSWERS: Final[Mapping[Op, Function]] = {Op.TRAIN_STEPS: train_steps}

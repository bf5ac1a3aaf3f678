"""Faults of MuGrokfast: its parts in another order, and parts done wrongly; most were found in a source system."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from spec_tests.chapters.mugrokfast import oracle
from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.chapters.optimisers.oracle import clip_factor, perpendicular
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_outputs
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op

ORDER: Final = "source: the parts of MuGrokfast in another order"
PART: Final = "source: a part of MuGrokfast done in its own way"
Right = Callable[..., Any]


def with_parts(**wrong: Callable[..., Any]) -> Wrap:
    """Build a fault that answers like the loops with some of their parts replaced, each called with the right one."""

    def change(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
        wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in x.items()}
        with ExitStack() as stack:
            for name, part in wrong.items():
                stack.enter_context(patch.object(oracle, name, partial(part, getattr(oracle, name))))
            answer = oracle.mugrokfast_step(config, wide, FORWARD)
        return {name: answer[name] for name in outputs}

    return with_outputs(change)


def one_by_one(right: Right, gradients: list[Array], clip: float, sums: Sums = FORWARD) -> list[Array]:
    """Clip each tensor by its own norm."""
    return [right([gradient], clip, sums)[0] for gradient in gradients]


def never(_: Right, gradients: list[Array], clip: float, sums: Sums = FORWARD) -> list[Array]:
    """Clip nothing."""
    del clip, sums
    return gradients


def then_clipped(right: Right, config: Config, gradient: Array, slow: Array, updates: int) -> tuple[Array, Array]:
    """Clip what the filter returns."""
    fast, slow = right(config, gradient, slow, updates)
    return oracle.shortened([fast], float(config["clip"]))[0], slow


def _late_clip() -> Wrap:
    """Filter raw gradients and clip what comes out, all of it together."""

    def change(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
        names = ("projection", "vector")
        pairs = [
            oracle.filtered(config, x[f"{name}_gradient"], x[f"{name}_slow"], int(x["updates"][number]))
            for number, name in enumerate(names)
        ]
        short = oracle.shortened([fast for fast, _ in pairs], float(config["clip"]))
        given = {f"{name}_gradient": value for name, value in zip(names, short, strict=True)}
        plain = {**config, "clip": 0.0, "strength": 0.0}
        answer = oracle.mugrokfast_step(plain, {**x, **given}, FORWARD)
        answer |= {f"{name}_slow": slow for name, (_, slow) in zip(names, pairs, strict=True)}
        return {name: answer[name] for name in outputs}

    return with_outputs(change)


def high_pass(_: Right, config: Config, gradient: Array, slow: Array, updates: int) -> tuple[Array, Array]:
    alpha = float(config["alpha"]) if updates else 0.0
    slow = alpha * slow + (1.0 - alpha) * gradient
    return gradient + float(config["strength"]) * (gradient - slow), slow


def from_zero(right: Right, config: Config, gradient: Array, slow: Array, updates: int) -> tuple[Array, Array]:
    result: tuple[Array, Array] = right(config, gradient, slow if updates else 0.0 * slow, 1)
    return result


def stays_as_it_is(_: Right, weight: Array, gradient: Array, on: bool, sums: Sums = FORWARD) -> Array:
    del weight, on, sums
    return gradient


def matrix_sideways(right: Right, *given: Any) -> Any:
    config, rate, weight, buffer, gradient, sums = given
    return right(config, rate, weight, buffer, _turned(config, weight, gradient), sums)


def vector_sideways(right: Right, *given: Any) -> Any:
    config, rate, weight, mean, square, gradient, *rest = given
    return right(config, rate, weight, mean, square, _turned(config, weight, gradient), *rest)


def _turned(config: Config, weight: Array, gradient: Array) -> Array:
    return perpendicular(weight, gradient, True) if config["perp_grad"] else gradient


def orthogonalised_first(right: Right, *given: Any) -> Any:
    """Newton-Schulz of the gradient, momentum after it."""
    config, rate, weight, buffer, gradient, _ = given
    momentum, decay = float(config["momentum"]), float(config["weight_decay"])
    direction = iteration(gradient, "quintic", 5)
    buffer = momentum * buffer + direction
    scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
    return (1.0 - rate * decay) * weight - rate * scale * (direction + momentum * buffer), buffer


def without_nesterov(right: Right, *given: Any) -> Any:
    config, rate, weight, buffer, gradient, sums = given
    momentum = float(config["momentum"])
    moved, _ = right({**config, "momentum": 0.0}, rate, weight, buffer, momentum * buffer + gradient, sums)
    return moved, momentum * buffer + gradient


def from_the_wrong_side(right: Right, *given: Any) -> Any:
    """X (X X^T) for (X X^T) X, which only a square matrix survives."""
    config, rate, weight, buffer, gradient, sums = given
    if weight.shape[0] != weight.shape[1]:
        return right(config, rate, weight, buffer, gradient, sums)
    momentum, decay = float(config["momentum"]), float(config["weight_decay"])
    buffer = momentum * buffer + gradient
    x = gradient + momentum * buffer
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return (1.0 - rate * decay) * weight - rate * x, buffer


def coupled(right: Right, *given: Any) -> Any:
    """Add the decay to the gradient, which Newton-Schulz makes part of a direction."""
    config, rate, weight, buffer, gradient, sums = given
    return right(
        {**config, "weight_decay": 0.0}, rate, weight, buffer, gradient + config["weight_decay"] * weight, sums
    )


def decayed_vector(right: Right, config: Config, *given: Any) -> Any:
    *rest, _ = given
    return right(config, *rest, float(config["weight_decay"]))


def uncorrected(right: Right, config: Config, *given: Any) -> Any:
    rate, weight, mean, square, gradient, _, decay = given
    return right(config, rate, weight, mean, square, gradient, 10**9, decay)


def eps_inside(right: Right, config: Config, *given: Any) -> Any:
    rate, weight, mean, square, gradient, count, decay = given
    _, mean, square = right(config, rate, weight, mean, square, gradient, count, decay)
    first, second = mean / (1.0 - float(config["beta1"]) ** count), square / (1.0 - float(config["beta2"]) ** count)
    return weight - rate * first / np.sqrt(second + float(config["eps"])), mean, square


def full_rate(right: Right, *given: Any) -> Any:
    """Leave the schedule out of Muon's rate."""
    config, _, *rest = given
    return right(config, float(config["muon_learning_rate"]), *rest)


def queries_alone(_: Right, weight: Array, maximum: Array, threshold: float) -> Array:
    if not threshold:
        return weight
    parts = weight.reshape(3, len(maximum), -1, weight.shape[1])
    factor = clip_factor(maximum, threshold)[:, None, None] ** 2
    return np.concatenate([factor * parts[0], parts[1], parts[2]]).reshape(weight.shape)


def whole_gamma(right: Right, weight: Array, maximum: Array, threshold: float) -> Any:
    return right(right(weight, maximum, threshold), maximum, threshold)


def values_too(right: Right, weight: Array, maximum: Array, threshold: float) -> Array:
    if not threshold:
        return weight
    parts = weight.reshape(3, len(maximum), -1, weight.shape[1])
    return np.asarray(parts * clip_factor(maximum, threshold)[:, None, None]).reshape(weight.shape)


def of_the_old_weights(right: Right, average: Array, before: Array, after: Array, decay: float) -> Any:
    return right(average, after, before, decay)


def _moved_by_nothing(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Update a parameter whose gradient is zero: its momentum and decay move it."""
    wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in x.items()}
    tiny = {f"{name}_gradient": wide[f"{name}_gradient"] + 1e-300 for name in ("projection", "vector")}
    if x["projection_gradient"].any() and x["vector_gradient"].any():
        return {}
    answer = oracle.mugrokfast_step(config, {**wide, **tiny}, FORWARD)
    return {name: answer[name] for name in outputs}


def _fault(name: str, clause: str, test: str, wrap: Wrap, origin: str = PART) -> Fault:
    return Fault(f"mugr-{name}", f"OPT-9{clause}", Op.MUGROKFAST_STEP, f"test_mugrokfast:{test}", wrap, origin)


CLIP: Final = "test_gradients_are_clipped_together_before_anything_else"
FILTER: Final = "test_what_is_filtered_is_orthogonal_to_its_weight_first"
ROUTES: Final = "test_the_matrix_goes_to_muon_and_the_vector_to_adamw"
AFTER: Final = "test_heads_are_clipped_after_the_step_and_averages_taken_after_that"
STILL: Final = "test_a_parameter_without_a_gradient_stays_as_it_is"

FAULTS: Final[tuple[Fault, ...]] = (
    _fault("clip-one-by-one", "a", CLIP, with_parts(shortened=one_by_one)),
    _fault("clip-never", "a", CLIP, with_parts(shortened=never)),
    _fault("clip-after-the-filter", "a", CLIP, _late_clip(), ORDER),
    _fault("clip-of-filtered", "a", CLIP, with_parts(shortened=never, filtered=then_clipped), ORDER),
    _fault(
        "perp-after-the-filter",
        "b",
        FILTER,
        with_parts(sideways=stays_as_it_is, matrix_step=matrix_sideways, adamw=vector_sideways),
        ORDER,
    ),
    _fault("perp-never", "b", FILTER, with_config(lambda _: {"perp_grad": False})),
    _fault("high-pass", "c", FILTER, with_parts(filtered=high_pass)),
    _fault("slow-from-zero", "c", FILTER, with_parts(filtered=from_zero)),
    _fault("orthogonalised-before-momentum", "d", ROUTES, with_parts(matrix_step=orthogonalised_first), ORDER),
    _fault("without-nesterov", "d", ROUTES, with_parts(matrix_step=without_nesterov)),
    _fault("from-the-wrong-side", "d", ROUTES, with_parts(matrix_step=from_the_wrong_side)),
    _fault("decay-coupled", "d", ROUTES, with_parts(matrix_step=coupled)),
    _fault("decay-on-the-vector", "e", ROUTES, with_parts(adamw=decayed_vector)),
    _fault("moments-not-corrected", "e", ROUTES, with_parts(adamw=uncorrected)),
    _fault("eps-inside-the-root", "e", ROUTES, with_parts(adamw=eps_inside)),
    _fault("schedule-of-one-rate", "f", ROUTES, with_parts(matrix_step=full_rate)),
    _fault("queries-clipped-alone", "g", AFTER, with_parts(heads_clipped=queries_alone)),
    _fault("clipped-by-gamma", "g", AFTER, with_parts(heads_clipped=whole_gamma)),
    _fault("values-clipped-too", "g", AFTER, with_parts(heads_clipped=values_too)),
    _fault("average-of-the-old-weights", "h", AFTER, with_parts(averaged=of_the_old_weights), ORDER),
    _fault("moved-by-nothing", "i", STILL, with_outputs(_moved_by_nothing)),
)

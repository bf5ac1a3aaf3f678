"""Steps of outer optimisers done wrongly."""

import numpy as np

from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.chapters.optimisers.oracle import largest_logits, low_pass
from spec_tests.faults.fault import Arrays, Config
from spec_tests.port import Array


def orthogonalised_first(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Newton-Schulz of the gradient, momentum after: the step is no longer orthogonal."""
    gradient = orthogonal(config, x["gradient"])
    return muon(config, x, float(config["momentum"]) * x["buffer"] + gradient, gradient)


def length_restored(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Multiplies the norm of the gradient back in."""
    step = outputs["weight"] - (1.0 - float(config["learning_rate"]) * float(config["weight_decay"])) * x["weight"]
    return {"weight": outputs["weight"] + step * (np.linalg.norm(x["gradient"]) - 1.0)}


def orthogonal(config: Config, matrix: Array) -> Array:
    return iteration(matrix, str(config["coefficients"]), int(config["newton_schulz_steps"]))


def muon(config: Config, x: Arrays, buffer: Array, gradient: Array) -> Arrays:
    rate, rows, columns = float(config["learning_rate"]), *x["weight"].shape
    step = rate * max(1.0, rows / columns) ** 0.5 * (gradient + float(config["momentum"]) * buffer)
    return {"buffer": buffer, "weight": (1.0 - rate * float(config["weight_decay"])) * x["weight"] - step}


def wide_scale(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Scales by sqrt(columns / rows)."""
    kept = (1.0 - float(config["learning_rate"]) * float(config["weight_decay"])) * x["weight"]
    rows, columns = x["weight"].shape
    factor = max(1.0, columns / rows) ** 0.5 / max(1.0, rows / columns) ** 0.5
    return {"weight": kept + factor * (outputs["weight"] - kept)}


def high_pass(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Adds strength (g - EMA(g)): the opposite of the method."""
    return {"filtered": x["gradients"] + float(config["strength"]) * (x["gradients"] - outputs["averages"])}


def from_zero(config: Config, x: Arrays, _: Arrays) -> Arrays:
    started = np.concatenate([0.0 * x["gradients"][:1], x["gradients"]])
    averages, filtered = low_pass(started, float(config["alpha"]), float(config["strength"]))
    return {"averages": averages[1:], "filtered": filtered[1:]}


def row_by_row(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    weight, gradient = x["weight"], x["gradient"]
    square = (weight * weight).sum(-1, keepdims=True)
    share = (weight * gradient).sum(-1, keepdims=True) / np.where(square > 0, square, 1.0)
    return {"filtered": gradient - share * weight}


def unclipped_dim(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Forgets 1 / sqrt(dim) in the logit."""
    scale = np.sqrt(x["queries"].shape[-1])
    return clipped(config, x, scale * largest_logits(x["queries"], x["keys"]), 0.5)


def clipped(config: Config, x: Arrays, maximum: Array, power: float) -> Arrays:
    gamma = np.minimum(1.0, float(config["threshold"]) / maximum) ** power
    weights = {name: gamma[:, None, None] * x[name] for name in ("query_weight", "key_weight")}
    return {"maximum": maximum, **weights}


def whole_gamma(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Multiplies both projections by gamma, not by its root: the logit falls to threshold^2 / maximum."""
    return clipped(config, x, outputs["maximum"], 1.0)


def all_heads(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    gamma = min(1.0, float(config["threshold"]) / float(outputs["maximum"].max())) ** 0.5
    return {name: gamma * x[name] for name in ("query_weight", "key_weight")}


def counts_the_future(config: Config, x: Arrays, _: Arrays) -> Arrays:
    logits = np.einsum("bthd,bihd->hbti", x["queries"], x["keys"]) / np.sqrt(x["queries"].shape[-1])
    return clipped(config, x, logits.reshape(len(logits), -1).max(-1), 0.5)


def decay_of_its_own(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Decay by wd and not by lr wd."""
    rate, decay = float(config["learning_rate"]), float(config["weight_decay"])
    return {"weight": outputs["weight"] + (rate - 1.0) * decay * x["weight"]}


def replaced(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    return {"filtered": float(config["strength"]) * outputs["averages"]}


def unit_presumed(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return {"filtered": x["gradient"] - (x["weight"] * x["gradient"]).sum() * x["weight"]}


def skipped_below(_: Config, x: Arrays, __: Arrays, *, bound: float) -> Arrays:
    return {"filtered": x["gradient"]} if np.linalg.norm(x["weight"]) < bound else {}


def zero_divides(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {} if x["weight"].any() else {"filtered": np.nan * outputs["filtered"]}


def gradient_itself(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Project after rescaling, and rescale again: nothing is left of the projection."""
    return {"filtered": x["gradient"]} if config["rescale"] else {}


def queries_alone(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    projections = clipped(config, x, np.maximum(outputs["maximum"], 1e-30), 1.0)
    return {"query_weight": projections["query_weight"], "key_weight": x["key_weight"]}


def first_row(config: Config, x: Arrays, _: Arrays) -> Arrays:
    return clipped(config, x, largest_logits(x["queries"][:1], x["keys"][:1]), 0.5)


def raised(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Leave out the minimum with one: a head below the threshold is scaled up to it."""
    factor = np.sqrt(float(config["threshold"]) / np.maximum(outputs["maximum"], 1e-30))[:, None, None]
    return {name: factor * x[name] for name in ("query_weight", "key_weight")}


def magnitude(config: Config, x: Arrays, _: Arrays) -> Arrays:
    past = np.maximum(largest_logits(x["queries"], x["keys"]), largest_logits(-x["queries"], x["keys"]))
    return clipped(config, x, past, 0.5)


def root_of_negative(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return clipped(config, x, outputs["maximum"], 0.5)


def cushioned(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    projections = clipped(config, x, np.maximum(outputs["maximum"], 0.0) + 1e-6, 0.5)
    return {**projections, "maximum": outputs["maximum"]}

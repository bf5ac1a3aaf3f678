"""Results of Newton-Schulz done wrongly: other norms, other ends, other gradients."""

import numpy as np

from spec_tests.chapters.newton_schulz.wrong_iterations import (
    frobenius,
    iterate,
    norm_of_each,
)
from spec_tests.drawing.inputs import central_difference
from spec_tests.faults.fault import Arrays, Config, Wrap, with_outputs
from spec_tests.port import Array


def columns_normalised(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    matrix = inputs["matrix"].astype(np.float64)
    if matrix.shape[-2] <= matrix.shape[-1]:
        return {}
    return {"orthogonal": matrix / (np.sqrt((matrix**2).sum(-2, keepdims=True)) + 1e-7)}


def tiny_unchanged(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    matrix = inputs["matrix"].astype(np.float64)
    return {"orthogonal": np.where(norm_of_each(matrix) < 1e-7, matrix, outputs["orthogonal"])}


def scaled_back(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"orthogonal": outputs["orthogonal"] * np.minimum(norm_of_each(inputs["matrix"].astype(np.float64)), 1e18)}


def nan_at_zero(name: str, output: str) -> Wrap:
    def change(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        return {output: outputs[output] if inputs[name].any() else np.full_like(outputs[output], np.nan)}

    return with_outputs(change)


def straight_through(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"grad.matrix": inputs["cotangent.orthogonal"]} if "grad.matrix" in outputs else {}


def gradient_of_unit_norm(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Project the gradient as if the norm counted."""
    if "grad.matrix" not in outputs or config["start"] != "clamp":
        return {}
    matrix = inputs["matrix"].astype(np.float64)
    unit = matrix / norm_of_each(matrix)
    gradient = outputs["grad.matrix"]
    return {"grad.matrix": gradient - unit * (unit * gradient).sum((-2, -1), keepdims=True)}


def rows_normalised(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    matrix = inputs["matrix"].astype(np.float64)
    if matrix.shape[-2] >= matrix.shape[-1]:
        return {}
    return {"orthogonal": matrix / (np.sqrt((matrix**2).sum(-1, keepdims=True)) + 1e-7)}


def polar(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Compute the exact polar factor, to which the quintic set never converges."""
    left, _sigma, right = np.linalg.svd(inputs["matrix"].astype(np.float64), full_matrices=False)
    return {"orthogonal": left @ right}


def norm_detached(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Differentiate as if the norm were a constant."""
    if "grad.matrix" not in outputs or not inputs["matrix"].any():
        return {}
    matrix, cotangent = (inputs[name].astype(np.float64) for name in ("matrix", "cotangent.orthogonal"))
    length = frobenius(matrix) + 1e-7

    def loss(value: Array) -> float:
        return float((iterate(value / length, str(config["coefficients"]), int(config["steps"])) * cotangent).sum())

    return {"grad.matrix": central_difference(loss, matrix)}


def nan_gradient_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.matrix" not in outputs:
        return {}
    return {"grad.matrix": np.where(frobenius(inputs["matrix"]) > 0, outputs["grad.matrix"], np.nan)}


def one_step_less(config: Config) -> Config:
    """Count the start as a step of `polar_express`."""
    polar = config["coefficients"] == "polar_express"
    return {"steps": max(int(config["steps"]) - 1, 0)} if polar else {}


def zero_gradient_at_zero(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.matrix" not in outputs:
        return {}
    return {"grad.matrix": np.where(frobenius(inputs["matrix"]) > 0, outputs["grad.matrix"], 0.0)}


def square_overflows(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Take the norm from squares in float32: it is infinite from 2e19 on, and the start is zero."""
    large = np.abs(inputs["matrix"]).max((-2, -1), keepdims=True, initial=0.0) > 1.8e19
    return {"orthogonal": np.where(large, 0.0, outputs["orthogonal"])}

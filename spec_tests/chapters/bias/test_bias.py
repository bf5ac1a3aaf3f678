"""docs/spec/bias.md: each write against the slope of its loss, and what holds of the error maps by themselves."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.bias.losses import LOSSES, slope
from spec_tests.chapters.memory_step.loop import Config, Inputs
from spec_tests.chapters.miras_scan.calls import (
    SHAPE,
    assert_loop,
    axes,
    both_forms,
    case,
    expected,
    one_write,
    small_case,
)
from spec_tests.contract.by_loops import assert_along
from spec_tests.contract.driver import Result, assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.oracle import complex_step
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

SCAN: Final = Op.MIRAS_SCAN
THRESHOLDS: Final = ("huber_coordinate", "huber_norm", "robust")
"""The smooth biases that look at a threshold."""
SLOPES: Final = {Numerics.F64: 1e-10, Numerics.F32: 1e-4, Numerics.BF16_IO: 1e-2}


def biases(*names: str, **changes: float | str) -> Iterator[dict[str, bool | int | float | str]]:
    """Yield a configuration of each bias in which one token is a chunk and a step is a step."""
    for name in names:
        yield axes(rule="delta", chunk=1, bias=name, **changes)


def plain(config: Config, **changes: Array | float) -> dict[str, Array]:
    """Return one write with eta = alpha = gamma = 1."""
    gates = {"retention": 1.0, "step_size": 1.0, "window_weights": 1.0}
    return one_write(config, **{**gates, **changes})


def slopes(result: Result) -> Array:
    """Return psi of every row and head as the write shows it: M_0 - M_1 = psi k^T, by the key."""
    inputs = result.inputs
    change = (inputs["weights"] - result["weights"]).reshape(SHAPE)
    keys = inputs["keys"][:, 0]
    return np.asarray(np.einsum("bhvf,bhf->bhv", change, keys) / (keys**2).sum(-1, keepdims=True))


def predictions(inputs: Inputs) -> Array:
    """Return M_0 k of every row and head."""
    return np.asarray(np.einsum("bhvf,bhf->bhv", inputs["weights"].reshape(SHAPE), inputs["keys"][:, 0]))


def wanted(config: Config, inputs: Inputs) -> Array:
    """Return psi by complex steps through the loss."""
    found, memory = np.zeros(SHAPE[:3]), predictions(inputs)
    numbers = float(config["exponent"]), float(config["smoothing"])
    for row, head in np.ndindex(*SHAPE[:2]):
        value, threshold = inputs["values"][row, 0, head], inputs["threshold"][row, 0, head]
        found[row, head] = slope(str(config["bias"]), memory[row, head], value, threshold, *numbers)
    return 2.0 * float(config["loss_scale"]) * found


@pytest.mark.long
@pytest.mark.spec("BIAS-1")
def test_a_write_is_a_step_down_the_loss_of_its_bias(port: Port) -> None:
    for numerics in precisions(port):
        for loss_scale in (0.5, 1.0):
            for exponent in (1.5, 3.0):
                for config in biases(*LOSSES, exponent=exponent, loss_scale=loss_scale):
                    if exponent == 3.0 or config["bias"] == "lp":
                        with where_declared():
                            result = run(port, SCAN, numerics, plain(config), **config)
                            psi = wanted(config, result.inputs)
                            written = np.einsum("bhv,bhf->bhvf", psi, result.inputs["keys"][:, 0])
                            memory = result.inputs["weights"] - written.reshape(result.inputs["weights"].shape)
                            result.assert_close("weights", memory)


@pytest.mark.spec("BIAS-2")
def test_every_bias_equals_the_squared_error_where_it_should(port: Port) -> None:
    for op, numerics in both_forms(port):
        for bias, number, threshold in (
            ("lp", 2.0, 0.5),
            ("huber_coordinate", 3.0, 1e3),
            ("huber_norm", 3.0, 1e3),
            ("robust", 3.0, 0.0),
        ):
            for architecture in ("matrix", "mlp_norm"):
                with where_declared():
                    config = axes(bias=bias, exponent=number, architecture=architecture)
                    inputs = case(config, time=7, seed=2)
                    inputs["threshold"] = np.full_like(inputs["threshold"], threshold)
                    result = run(port, op, numerics, inputs, **config)
                    squared = run(port, op, numerics, inputs, **{**config, "bias": "l2"})
                    for name, value in squared.outputs.items():
                        assert_close(result[name], value, unchanged(squared, name), f"{op} {bias} {name}")
                    assert_loop(squared, {**config, "bias": "l2"})


@pytest.mark.spec("BIAS-3")
def test_what_dot_writes_does_not_depend_on_the_memory(port: Port) -> None:
    for numerics in precisions(port):
        for config in biases("dot"):
            with where_declared():
                inputs = plain(config)
                other = {**inputs, "weights": generator(3).standard_normal(inputs["weights"].shape)}
                first, second = (run(port, SCAN, numerics, given, **config) for given in (inputs, other))
                assert_close(slopes(second), slopes(first), SLOPES[numerics], f"psi of dot in {numerics}")
                first.assert_close("momentum", second["momentum"])
                psi = -2.0 * float(config["loss_scale"]) * first.inputs["values"][:, 0]
                assert_close(slopes(first), psi, SLOPES[numerics], f"psi of dot and the values in {numerics}")


@pytest.mark.spec("BIAS-4")
def test_the_norm_of_huber_is_bounded_and_does_not_jump_and_that_of_yaad_takes_signs(port: Port) -> None:
    for numerics in precisions(port):
        for config in biases("huber_norm", loss_scale=1.0):
            with where_declared():
                inputs = plain(config)
                length = np.sqrt(((predictions(inputs) - inputs["values"][:, 0]) ** 2).sum(-1))[:, None]
                for share in (0.2, 0.999, 1.001):
                    result = run(port, SCAN, numerics, {**inputs, "threshold": share * length}, **config)
                    found = np.sqrt((slopes(result) ** 2).sum(-1))[:, None]
                    bound = 2.0 * np.minimum(share, 1.0) * length
                    # What bfloat16 makes of keys and values was there before the threshold was chosen.
                    assert_close(found, bound, 10.0 * SLOPES[numerics], f"length of psi at {share} of the threshold")
        for config in biases("yaad_printed"):
            with where_declared():
                result = run(port, SCAN, numerics, plain(config, threshold=0.125), **config)
                error = predictions(result.inputs) - result.inputs["values"][:, 0]
                assert_close(slopes(result), 0.125 * np.sign(error), SLOPES[numerics], f"signs of yaad in {numerics}")


@pytest.mark.spec("BIAS-5")
def test_nothing_is_written_where_the_memory_is_right_and_derivatives_are_finite(port: Port) -> None:
    for numerics in precisions(port):
        for config in biases("l2", "lp", "huber_coordinate", "huber_norm", "yaad_printed", "robust", exponent=1.5):
            with where_declared():
                nothing = {name: 0.0 * plain(config)[name] for name in ("weights", "anchor", "initial", "values")}
                inputs = plain(config, **nothing)
                result = run(port, SCAN, numerics, inputs, **config)
                assert not result["weights"].any(), f"{config['bias']} writes where the memory is right in {numerics}"
                cotangents = {"weights": generator(4).standard_normal(inputs["weights"].shape)}
                gradients = run_with_gradients(port, SCAN, numerics, inputs, cotangents, **config)
                for name, value in gradients.outputs.items():
                    assert np.isfinite(value).all(), f"{config['bias']} {name} is not finite in {numerics}"
                assert_along(gradients, config, cotangents, "weights", "values")


@pytest.mark.spec("BIAS-6")
def test_the_threshold_of_a_window_is_that_of_the_token_that_writes(port: Port) -> None:
    for op, numerics in both_forms(port):
        for bias in THRESHOLDS:
            with where_declared():
                config = axes(bias=bias, chunk=1)
                inputs = case(config, time=5, window=3, seed=5, document=100)
                # Another threshold of an earlier token changes a later write only through what the earlier one wrote.
                inputs["step_size"][:, :4] = 0.0
                inputs["momentum_decay"][:, 4] = 0.0
                other = {**inputs, "threshold": inputs["threshold"].copy()}
                other["threshold"][:, :4] *= 0.25
                first, second = (run(port, op, numerics, given, **config) for given in (inputs, other))
                assert_close(second["weights"], first["weights"], unchanged(first, "weights"), f"{op} {bias} weights")
                first.assert_close("weights", expected(config, first.inputs)["weights"])


@pytest.mark.spec("BIAS-7")
def test_the_derivative_by_the_threshold_is_that_of_the_error_map(port: Port) -> None:
    for numerics in precisions(port):
        for bias in (*THRESHOLDS, "l2"):
            with where_declared():
                config = axes(bias=bias, chunk=2)
                inputs = small_case(config, 6)
                cotangents = {"reads": generator(7).standard_normal(inputs["values"].shape)}
                result = run_with_gradients(port, SCAN, numerics, inputs, cotangents, **config)
                found = result["grad.threshold"]
                if bias not in THRESHOLDS:
                    assert not found.any(), f"{bias} has a derivative by a threshold that it does not look at"
                    continue
                direction = generator(8).standard_normal(found.shape)
                loop = partial(expected, config)
                slope_of_loop = complex_step.along(loop, inputs, {"threshold": direction}, cotangents)
                allowed = SLOPES[numerics] * 10.0 * np.sqrt((found**2).sum() * (direction**2).sum())
                assert abs((found * direction).sum() - slope_of_loop) <= allowed, f"{bias}: slope by the threshold"


@pytest.mark.spec("BIAS-8")
def test_an_error_map_looks_at_one_pair_of_one_head(port: Port) -> None:
    for numerics in precisions(port):
        for bias in THRESHOLDS:
            with where_declared():
                config = axes(bias=bias, chunk=1)
                inputs = case(config, time=1, window=3, seed=9)
                inputs |= {"position": np.array([8, 13]), "reset": 0 * inputs["reset"]}
                alone = []
                for age in range(3):
                    gamma = 0.0 * inputs["window_weights"]
                    gamma[..., age] = inputs["window_weights"][..., age]
                    alone.append(run(port, SCAN, numerics, {**inputs, "window_weights": gamma}, **config)["momentum"])
                whole = run(port, SCAN, numerics, inputs, **config)
                nothing = {**inputs, "window_weights": 0.0 * inputs["window_weights"]}
                before = run(port, SCAN, numerics, nothing, **config)["momentum"]
                parts = before + sum(part - before for part in alone)
                assert_close(whole["momentum"], parts, 10.0 * whole.tolerance("momentum"), f"{bias}: pairs of a window")
                whole.assert_close("momentum", expected(config, whole.inputs)["momentum"])


@pytest.mark.spec("BIAS-9")
def test_mass_multiplies_the_curvature_by_a_bound_on_the_slope_of_the_bias(port: Port) -> None:
    for numerics in precisions(port):
        for bias in LOSSES:
            for exponent in (1.5, 3.0) if bias == "lp" else (3.0,):
                with where_declared():
                    config = axes(rule="delta", chunk=1, bias=bias, exponent=exponent, step_scale="mass")
                    inputs = plain(config)
                    inputs["keys"] = 2.0 * inputs["keys"]
                    result = run(port, SCAN, numerics, inputs, **config)
                    kappa = (result.inputs["keys"][:, 0] ** 2).sum(-1) * steepest(config, result.inputs)
                    psi = wanted(config, result.inputs) / np.maximum(1.0, kappa)[..., None]
                    assert_close(slopes(result), psi, SLOPES[numerics], f"{bias} by mass in {numerics}")


def steepest(config: Config, inputs: Inputs) -> Array:
    """Return the bound on the slope of psi of every row and head: the largest there is, from the table of BIAS-9."""
    error = predictions(inputs) - inputs["values"][:, 0]
    p, s = float(config["exponent"]), float(config["smoothing"])
    one = np.ones(SHAPE[:2])
    if config["bias"] == "dot":
        return 0.0 * one
    if config["bias"] == "robust":
        return np.asarray(1.0 + inputs["threshold"][:, 0] / np.sqrt((error**2).sum(-1) + s * s))
    if config["bias"] == "lp" and p < 2.0:
        return np.asarray(p / 2.0 * s ** (p - 2.0) * one)
    if config["bias"] == "lp":
        return np.asarray(p / 2.0 * (p - 1.0) * ((error**2 + s * s) ** (p / 2.0 - 1.0)).max(-1))
    return one

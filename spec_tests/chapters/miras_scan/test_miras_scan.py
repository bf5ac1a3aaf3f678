"""docs/spec/miras_scan.md: every axis against the loop, and the models that are points of the space."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step import calls
from spec_tests.chapters.memory_step.calls import FEATURES, VALUES
from spec_tests.chapters.memory_step.loop import Config, Inputs, gelu, identity_part
from spec_tests.chapters.miras_scan.architectures import unpacked
from spec_tests.chapters.miras_scan.calls import SHAPE, USUAL, assert_loop, axes, both_forms, case, one_write
from spec_tests.chapters.miras_scan.grid import cells
from spec_tests.contract.driver import assert_close, in_turn, precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port, Scalar
from spec_tests.tally import where_declared

SCAN: Final = Op.MIRAS_SCAN
TOLERANCE: Final = {Numerics.F64: 1e-10, Numerics.F32: 1e-4, Numerics.BF16_IO: 1e-2}
DELTA: Final[dict[str, Scalar]] = {"rule": "delta", "chunk": 1}


@pytest.mark.spec("MEM-2", "RULE-18", "RULE-26")
def test_reads_and_last_state_are_those_of_the_loop_for_every_two_values(port: Port) -> None:
    for seed, config in enumerate(cells(SCAN)):
        with where_declared():
            numerics, inputs = in_turn(port, seed), case(config, time=5, seed=100 + seed, document=4)
            # Normalisations in and around the memory magnify what rounding leaves of a write.
            assert_loop(run(port, SCAN, numerics, inputs, **config), config, factor=10.0)


@pytest.mark.spec("RULE-12")
def test_the_error_is_that_of_what_retention_leaves_or_of_the_memory_before_it(port: Port) -> None:
    for op, numerics in both_forms(port):
        for axis in ("head", "columns"):
            for where in ("retained", "previous"):
                with where_declared():
                    config = axes(**DELTA, error_at=where, gate_axis=axis)
                    result = run(port, op, numerics, forgetful(config, 1), **config)
                    result.assert_close("reads", gated_delta(result.inputs, where == "retained"))


def forgetful(config: Config, seed: int) -> dict[str, Array]:
    """Return seven tokens of a document in the middle, with retention far from one."""
    inputs = case(config, time=7, window=1, seed=seed, document=100)
    gate = generator(seed + 1).uniform(0.25, 0.75, inputs["retention"].shape).astype(np.float32).astype(np.float64)
    return inputs | {"position": np.array([3, 9]), "reset": 0 * inputs["reset"], "retention": gate}


def gated_delta(x: Inputs, retained: bool) -> Array:
    """Return the reads of Gated DeltaNet as its kernels have it: a state of keys by values, decays as logarithms."""
    memory = np.swapaxes(x["weights"].reshape(SHAPE), -1, -2)
    reads = np.zeros(x["values"].shape)
    for t in range(x["values"].shape[1]):
        decayed = memory * np.exp(np.log(x["retention"][:, t]))[..., None]
        beta = (x["step_size"] * x["window_weights"][..., 0])[:, t, :, None]
        stored = np.einsum("bhf,bhfv->bhv", x["keys"][:, t], decayed if retained else memory)
        memory = decayed + np.einsum("bhf,bhv->bhfv", x["keys"][:, t], beta * (x["values"][:, t] - stored))
        reads[:, t] = np.einsum("bhf,bhfv->bhv", x["queries"][:, t], memory)
    return reads


@pytest.mark.spec("RULE-13")
def test_implicit_is_the_minimum_of_its_objective_for_every_step(port: Port) -> None:
    for op, numerics in both_forms(port):
        for loss_scale, step in ((0.5, 0.5), (1.0, 0.25), (0.5, 4096.0)):
            with where_declared():
                config = axes(**DELTA, algorithm="implicit", loss_scale=loss_scale)
                result = run(port, op, numerics, one_write(config, step_size=step, retention=0.5), **config)
                x, written = result.inputs, result["weights"].reshape(SHAPE)
                kept, key, gamma = 0.5 * x["weights"].reshape(SHAPE), x["keys"][:, 0], x["window_weights"][:, 0, :, :1]
                error = np.einsum("bhvf,bhf->bhv", written, key) - x["values"][:, 0]
                # The slope of 1/2 ||M - alpha M'||^2 + eta ls gamma ||M k - v||^2 is zero at the minimum.
                pull = 2.0 * loss_scale * step * np.einsum("bhv,bhf->bhvf", gamma * error, key)
                least = ((written - kept) + pull) / (1.0 + step)
                assert np.abs(least).max() < TOLERANCE[numerics], f"{op} step {step}: slope {np.abs(least).max():.3g}"
                # And S is the gradient there, so that the write is a step along it.
                momentum = result["momentum"].reshape(SHAPE)
                assert_close(kept - step * momentum, written, TOLERANCE[numerics], f"{op} step {step} along S")


@pytest.mark.spec("RULE-15")
def test_retention_multiplies_all_or_rows_or_columns(port: Port) -> None:
    for op, numerics in both_forms(port):
        for axis in ("head", "rows", "columns"):
            with where_declared():
                config = axes(gate_axis=axis)
                result = run(port, op, numerics, one_write(config, step_size=0.0), **config)
                gate = result.inputs["retention"][:, 0]
                spread = gate[..., None] if axis == "rows" else gate[:, :, None]
                kept = spread * result.inputs["weights"].reshape(SHAPE)
                result.assert_close("weights", kept.reshape(result.inputs["weights"].shape))
        with where_declared():
            config = axes(architecture="mlp")
            result = run(port, op, numerics, one_write(config, step_size=0.0), **config)
            result.assert_close("weights", result.inputs["retention"][:, 0] * result.inputs["weights"])


@pytest.mark.spec("RULE-16")
def test_reads_are_linear_in_the_values(port: Port) -> None:
    for op, numerics in both_forms(port):
        for bias in ("l2", "dot"):
            for axis in ("head", "columns"):
                with where_declared():
                    config = axes(rule="titans", chunk=3, bias=bias, gate_axis=axis)
                    inputs = case(config, time=7, seed=4, document=100)
                    nothing = ("initial", "weights", "momentum", "anchor", "window_keys", "window_values")
                    inputs |= {name: 0.0 * inputs[name] for name in nothing} | {"position": np.array([0, 0])}
                    inputs["values"] = np.round(4.0 * inputs["values"]) / 4.0
                    result = run(port, op, numerics, inputs, **config)
                    assert_loop(result, config)
                    whole = result["reads"]
                    twice = run(port, op, numerics, {**inputs, "values": 2.0 * inputs["values"]}, **config)["reads"]
                    assert_close(twice, 2.0 * whole, TOLERANCE[numerics], f"{op} {bias}: reads of twice the values")
                    parts = [values_of(inputs, t) for t in range(7)]
                    alone = sum(run(port, op, numerics, part, **config)["reads"] for part in parts)
                    assert_close(
                        np.asarray(alone), whole, 2.0 * TOLERANCE[numerics], f"{op} {bias}: sum of single values"
                    )


def values_of(inputs: Inputs, t: int) -> dict[str, Array]:
    """Return the call with no value but that of token t."""
    kept = 0.0 * inputs["values"]
    kept[:, t] = inputs["values"][:, t]
    return {**inputs, "values": kept}


@pytest.mark.spec("RULE-17")
def test_proximal_elastic_shrinks_the_state_by_a_multiple_of_the_step(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config = axes(retention="proximal_elastic", level=0.5)
            inputs = one_write(config, step_size=0.375, momentum_decay=0.0, window_weights=0.0)
            result = run(port, SCAN, numerics, inputs, **config)
            kept = result.inputs["retention"][:, 0] * result.inputs["weights"]
            wanted = np.where(np.abs(kept) > 0.1875, kept - 0.1875 * np.sign(kept), 0.0)
            result.assert_close("weights", wanted)
            assert not result["weights"][wanted == 0.0].any(), "an entry inside the threshold is left of the state"


@pytest.mark.spec("RULE-18")
def test_a_memory_predicts_what_its_architecture_says(port: Port) -> None:
    for numerics in precisions(port):
        for architecture in ("linear_norm", "mlp_norm", "mlp_glu"):
            with where_declared():
                config = axes(architecture=architecture, rule="titans", chunk=1)
                inputs = one_write(config, step_size=0.0, retention=1.0, momentum_decay=0.0)
                result = run(port, SCAN, numerics, inputs, **config)
                reads = np.zeros((2, 1, SHAPE[1], VALUES))
                for row, head in np.ndindex(*SHAPE[:2]):
                    weights = unpacked(architecture, result["weights"][row, head], FEATURES, VALUES)
                    reads[row, 0, head] = prediction(architecture, weights, result.inputs["queries"][row, 0, head])
                result.assert_close("reads", reads)


def prediction(architecture: str, weights: list[Array], x: Array) -> Array:
    """Return P(x) from the sentence."""
    if architecture == "mlp_glu":
        return np.asarray(identity_part(x, VALUES) + weights[0] @ (gelu(weights[1] @ x) * (weights[2] @ x)))
    z = weights[0] @ (gelu(weights[1] @ x) if len(weights) > 1 else x)
    return np.asarray(identity_part(x, VALUES) + (z - z.mean()) / np.sqrt(z.var() + 1e-6))


@pytest.mark.spec("RULE-18")
def test_a_write_goes_down_the_loss_of_every_matrix_of_the_architecture(port: Port) -> None:
    for numerics in precisions(port):
        for architecture in ("linear_norm", "mlp_norm", "mlp_glu"):
            with where_declared():
                config = axes(architecture=architecture, rule="omega", chunk=1)
                inputs = one_write(config, momentum_decay=0.0, window_weights=1.0)
                result = run(port, SCAN, numerics, inputs, **config)
                slopes = np.zeros_like(result["momentum"])
                for place in np.ndindex(slopes.shape):
                    slopes[place] = slope(architecture, result.inputs, place)
                assert_close(
                    result["momentum"], slopes, max(1e-8, result.tolerance("momentum")), f"g of {architecture}"
                )


def slope(architecture: str, x: Inputs, place: tuple[int, ...], step: float = 1e-6) -> float:
    """Return the derivative of 1/2 ||P(k) - v||^2 by one entry of the parameters, by a central difference."""
    row, head, entry = place
    losses = []
    for moved in (step, -step):
        packed = x["weights"][row, head].copy()
        packed[entry] += moved
        weights = unpacked(architecture, packed, FEATURES, VALUES)
        error = prediction(architecture, weights, x["keys"][row, 0, head]) - x["values"][row, 0, head]
        losses.append(0.5 * float(error @ error))
    return (losses[0] - losses[1]) / (2.0 * step)


@pytest.mark.spec("RULE-19")
def test_with_the_values_that_chapter_mem_has_it_answers_as_the_memory_does(port: Port) -> None:
    for numerics in precisions(port):
        for memory in (calls.rule("titans", "mlp"), calls.rule("atlas"), calls.rule("delta", step_scale="mass")):
            with where_declared():
                inputs = calls.case(memory, time=6, seed=5)
                gates = {"retention": inputs["retention"][..., None], "threshold": inputs["step_size"]}
                result = run(port, SCAN, numerics, {**inputs, **gates}, **{**USUAL, **memory})
                for name, value in calls.expected(memory, result.inputs).items():
                    result.assert_close(name, value, factor=10.0)

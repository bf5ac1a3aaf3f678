"""docs/spec/blocks.md, against the other chapters' oracles put together in numpy."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from spec_tests.chapters.blocks.calls import block_config, case
from spec_tests.chapters.blocks.oracle import mag_block
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import (
    GRADIENT,
    assert_any_split_agrees,
    assert_causal,
    assert_rows_independent,
    unchanged,
)
from spec_tests.drawing.inputs import generator, splits
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

BLOCK = Op.MAG_BLOCK
STATE = tuple(tensor.name for tensor in OPERATIONS[BLOCK].outputs if tensor.name != "y")
OF_MEMORY = (
    "memory_projection",
    "convolution",
    "gates_weight",
    "gates_bias",
    "coefficients",
    "initial",
    "weights",
    "momentum",
    "window_values",
)
OUTSIDE = ("x", "norm", "attention_projection", "persistent", "attention_norm", "memory_norm", "gate_weight", "output")
CONFIGS = (
    block_config(),
    block_config("titans", "mlp", gate="source", projection="tnt"),
    block_config("atlas", projection="frobenius_tanh", floor=0.0),
)


def expect(port: Port, config: Config, inputs: Mapping[str, Array], *names: str) -> None:
    """Compare y, and the state named, with the oracle's in every precision."""
    for numerics in precisions(port):
        with where_declared():
            result = run(port, BLOCK, numerics, inputs, **config)
            answer = mag_block(config, result.inputs, FORWARD)
            for name in (*names, "y"):
                result.assert_close(name, answer[name], factor=4.0)


@pytest.mark.spec("BLOCK-1", "BLOCK-7")
def test_the_block_adds_the_gated_join_of_attention_and_memory(port: Port) -> None:
    for config in CONFIGS:
        with where_declared():
            expect(port, config, case(BLOCK, config, 1), *STATE)


@pytest.mark.spec("BLOCK-2")
def test_positions_turn_queries_and_keys_and_count_from_the_document(port: Port) -> None:
    config = block_config(rope_base=3.0, span=6)
    inputs = case(BLOCK, config, 2)
    expect(port, config, inputs, "cache_keys", "cache_values")
    for numerics in precisions(port):
        with where_declared():
            here = run(port, BLOCK, numerics, inputs, **config)
            later = run(port, BLOCK, numerics, {**inputs, "position": inputs["position"] + 1}, **config)
            # Row 0 begins a document at token 4, so the count before the call does not matter from there on.
            what = "y of a document that begins in the call"
            assert_close(later["y"][0, 4:], here["y"][0, 4:], 1e-12 if numerics is Numerics.F64 else 1e-5, what)
            assert not np.allclose(later["cache_keys"][1], here["cache_keys"][1]), "positions do not turn keys"


@pytest.mark.spec("BLOCK-3")
def test_persistent_tokens_are_seen_by_attention_alone(port: Port) -> None:
    config = block_config()
    inputs = case(BLOCK, config, 3)
    for numerics in precisions(port):
        with where_declared():
            without = run(port, BLOCK, numerics, case(BLOCK, config, 3, tokens=0) | _others(inputs), **config)
            result = run(port, BLOCK, numerics, inputs, **config)
            for name in STATE:
                assert_close(
                    result[name], without[name], unchanged(result, name), f"{name} with and without persistent tokens"
                )
            assert not np.allclose(result["y"], without["y"]), "persistent tokens are not seen"
    expect(port, config, inputs)


def _others(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in inputs.items() if name != "persistent"}


@pytest.mark.spec("BLOCK-4")
def test_addresses_are_unit_vectors_of_the_activated_convolution_and_values_are_not(port: Port) -> None:
    for degree, features in ((1, 2), (2, 5)):
        with where_declared():
            config = block_config(basis="monomial_weighted")
            expect(port, config, case(BLOCK, config, 4, degree=degree, features=features), "tail", *STATE[4:])


@pytest.mark.spec("BLOCK-5")
def test_gates_are_scaled_sigmoids_of_the_hidden_states(port: Port) -> None:
    for step_max, momentum_max in ((0.8, 0.9), (0.3, 0.5)):
        with where_declared():
            config = block_config(step_max=step_max, momentum_max=momentum_max)
            expect(port, config, case(BLOCK, config, 5), "momentum", "weights")


@pytest.mark.spec("BLOCK-6")
def test_the_projection_turns_queries_and_not_keys(port: Port) -> None:
    for kind in ("none", "tnt", "frobenius_tanh"):
        with where_declared():
            config = block_config(projection=kind)
            expect(port, config, case(BLOCK, config, 6), "carry", "window_keys")


@pytest.mark.long
@pytest.mark.spec("BLOCK-7")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        for config in CONFIGS[:2]:
            with where_declared():
                assert_any_split_agrees(port, BLOCK, numerics, case(BLOCK, config, 7), splits(9, 8), **config)


@pytest.mark.spec("BLOCK-8")
def test_a_reset_is_a_fresh_start_in_every_part(port: Port) -> None:
    config = block_config(projection="tnt", span=5)
    for numerics in precisions(port):
        with where_declared():
            inputs = case(BLOCK, config, 9)
            inputs["reset"] = np.zeros_like(inputs["reset"])
            inputs["reset"][:, 0] = 1
            running = run(port, BLOCK, numerics, inputs, **config)
            start = np.broadcast_to(inputs["initial"], inputs["weights"].shape)
            fresh = {name: 0 * inputs[name] for name in STATE} | {"weights": start, "anchor": start}
            alone = run(port, BLOCK, numerics, {**inputs, **fresh, "reset": 0 * inputs["reset"]}, **config)
            for name in ("y", *STATE):
                assert_close(
                    running[name], alone[name], unchanged(running, name), f"{name} after a reset in {numerics}"
                )
            unmarked = run(port, BLOCK, numerics, {**inputs, "reset": 0 * inputs["reset"]}, **config)
            assert not np.allclose(unmarked["y"], running["y"]), "the marks are not read"
            running.assert_close("y", mag_block(config, running.inputs, FORWARD)["y"], factor=4.0)


@pytest.mark.spec("BLOCK-9")
def test_rows_and_the_future_do_not_count(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config = CONFIGS[0]
            assert_rows_independent(port, BLOCK, numerics, _row_wise(case(BLOCK, config, 10)), **config)
            assert_causal(port, BLOCK, numerics, case(BLOCK, config, 11), (3, 7), **config)


def _row_wise(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return a case in which both rows are in the middle of a document."""
    return {**inputs, "reset": 0 * inputs["reset"]}


def differences(config: Config, inputs: Mapping[str, Array], weight: Array) -> Iterator[tuple[str, Array, float]]:
    """Yield the name of each parameter, a random direction, and the derivative of sum(weight y) along it."""

    def loss(changed: Mapping[str, Array]) -> float:
        return float((mag_block(config, changed, FORWARD)["y"] * weight).sum())

    for number, name in enumerate((*OUTSIDE, *OF_MEMORY)):
        direction = generator(100 + number).standard_normal(inputs[name].shape)
        step = 1e-6
        up, down = ({**inputs, name: inputs[name] + sign * step * direction} for sign in (1, -1))
        yield name, direction, (loss(up) - loss(down)) / (2 * step)


@pytest.mark.spec("BLOCK-10")
def test_the_gradients_are_those_of_the_block(port: Port) -> None:
    config = block_config()
    inputs = case(BLOCK, config, 12, batch=1, time=5)
    weight = generator(13).standard_normal(inputs["x"].shape)
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, BLOCK, numerics, inputs, {"y": weight}, **config)
            for name, direction, slope in differences(config, result.inputs, weight):
                gradient = result[f"grad.{name}"]
                error = abs(float((gradient * direction).sum()) - slope)
                allowed = GRADIENT[numerics] * float(np.linalg.norm(gradient) * np.linalg.norm(direction))
                assert error <= allowed, f"gradient of {name} in {numerics}: off by {error:.3g}, allowed {allowed:.3g}"


@pytest.mark.spec("BLOCK-10")
def test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before(port: Port) -> None:
    config = block_config(inner_grad="detached")
    inputs = case(BLOCK, config, 14, batch=1, time=5)
    weight = generator(15).standard_normal(inputs["x"].shape)
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, BLOCK, numerics, inputs, {"y": weight}, **config)
            full = run_with_gradients(port, BLOCK, numerics, inputs, {"y": weight}, **{**config, "inner_grad": "full"})
            assert_close(
                result["y"], full["y"], unchanged(full, "y"), "y with and without a gradient through the reads"
            )
            result.assert_close("y", mag_block(config, result.inputs, FORWARD)["y"], factor=4.0)
            for name in OF_MEMORY:
                assert not result[f"grad.{name}"].any(), f"detached, and yet {name} has a gradient in {numerics}"
                assert full[f"grad.{name}"].any(), f"{name} has no gradient in {numerics}"
            for name in OUTSIDE:
                assert result[f"grad.{name}"].any(), f"detached, and so {name} has no gradient in {numerics}"

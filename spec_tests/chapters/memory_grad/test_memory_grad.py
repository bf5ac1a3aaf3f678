"""docs/spec/memory_grad.md: derivatives of reads and final state, against central differences of the loop."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_chunked.grid import cotangents
from spec_tests.chapters.memory_step.calls import case, expected, fresh, rule, tokens
from spec_tests.chapters.memory_step.declared import rules_in
from spec_tests.chapters.memory_step.loop import GATES, STATE, Config, Inputs
from spec_tests.contract.driver import Result, assert_close, precisions, run_with_gradients
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

GRAD = Op.MEMORY_GRAD
WRITES = 6
STEP = 1e-5
"""Step of the central differences along a random direction."""
SLOPES: Final = {Numerics.F64: 1e-7, Numerics.F32: 1e-3, Numerics.BF16_IO: 1e-2}
"""Largest error of a slope along a random direction, relative to the lengths of gradient and direction."""
SAME: Final = {Numerics.F64: 1e-10, Numerics.F32: 1e-3, Numerics.BF16_IO: 3e-2}
"""How nearly two ways to ask for one gradient agree, relative to its largest entry."""


def mixed_case(config: Config, seed: int) -> dict[str, Array]:
    """Return two rows of six writes, over a border of chunks; a document begins in row 1 at token 2."""
    inputs = case(config, time=WRITES, window=3, seed=seed)
    inputs |= {"position": np.array([2, 7]), "reset": 0 * inputs["reset"]}
    inputs["reset"][1, 2] = 1
    for name in ("window_keys", "window_values"):
        inputs[name] = generator(seed + 500).standard_normal(inputs[name].shape)
    return representable(GRAD, inputs)


def without_effect(config: Config, name: str) -> bool:
    """Return whether an input is ignored: of `delta` momentum and other tokens, in chunks of one token the anchor."""
    ignored = ("momentum", "momentum_decay", "window_keys", "window_values")
    return (config["rule"] == "delta" and name in ignored) or (config["chunk"] == 1 and name == "anchor")


def differentiate(
    port: Port, numerics: Numerics, config: Config, inputs: Inputs, seed: int
) -> tuple[Result, dict[str, Array]]:
    asked = representable(GRAD, cotangents(inputs, seed))
    return run_with_gradients(port, GRAD, numerics, inputs, asked, **config), asked


def slope(config: Config, inputs: Inputs, asked: Inputs, name: str, direction: Array) -> float:
    """Return the derivative of sum(cotangent * output) of the loop along a direction in one input."""

    def loss(size: float) -> float:
        outputs = expected(config, {**inputs, name: inputs[name] + size * direction})
        return float(sum((outputs[output] * cotangent).sum() for output, cotangent in asked.items()))

    return (loss(STEP) - loss(-STEP)) / (2 * STEP)


def assert_slopes(
    port: Port, numerics: Numerics, config: Config, inputs: Inputs, names: tuple[str, ...], seed: int
) -> None:
    """Assert the gradients of `names` along a random direction, and that they are not zero."""
    result, asked = differentiate(port, numerics, config, inputs, seed)
    rng = generator(seed + 100)
    for name in names:
        gradient = result[f"grad.{name}"]
        what = f"{config['rule']} {config['architecture']} gradient of {name} in {numerics}"
        assert np.isfinite(gradient).all(), f"{what} is not finite"
        direction = rng.standard_normal(gradient.shape)
        actual = float((gradient * direction).sum())
        allowed = SLOPES[numerics] * float(np.sqrt((gradient**2).sum() * (direction**2).sum())) + 1e-9
        wanted = slope(config, inputs, asked, name, direction)
        assert abs(actual - wanted) <= allowed, f"{what}: slope {actual:.12g}, not {wanted:.12g}"
        assert gradient.any() or without_effect(config, name), f"{what} is zero"


def assert_every_slope(port: Port, *names: str) -> None:
    for numerics in precisions(port):
        for seed, config in enumerate(rules_in(port, numerics)):
            with where_declared():
                assert_slopes(port, numerics, config, mixed_case(config, seed), names, seed)
        for config in (rule("titans", "mlp", step_scale="mass"), rule("atlas", read="pre", boundary="truncate")):
            with where_declared():
                assert_slopes(port, numerics, config, mixed_case(config, 3), names, 3)


@pytest.mark.spec("GRAD-1")
def test_gradients_of_keys_values_and_queries_are_those_of_the_loop(port: Port) -> None:
    assert_every_slope(port, "keys", "values", "queries")


@pytest.mark.spec("GRAD-2")
def test_gradients_of_the_gates_are_those_of_the_loop(port: Port) -> None:
    assert_every_slope(port, *GATES)


@pytest.mark.spec("GRAD-1", "GRAD-3")
def test_gradients_of_m_0_and_of_the_state_are_those_of_the_loop(port: Port) -> None:
    assert_every_slope(port, "initial", *STATE[:-1])


@pytest.mark.spec("GRAD-3")
def test_gradients_go_through_the_state_from_call_to_call(port: Port) -> None:
    for numerics in precisions(port):
        for seed, config in enumerate(rules_in(port, numerics)):
            with where_declared():
                inputs = mixed_case(config, seed)
                whole, asked = differentiate(port, numerics, config, inputs, seed)
                first, second = tokens(inputs, slice(0, 4)), tokens(inputs, slice(4, WRITES))
                state = expected(config, first)
                later = {**asked, "reads": asked["reads"][:, 4:]}
                entered = {**second, **{name: state[name] for name in STATE}}
                behind = run_with_gradients(port, GRAD, numerics, entered, later, **config)
                back = {name: behind[f"grad.{name}"] for name in STATE[:-1]} | {"reads": asked["reads"][:, :4]}
                before = run_with_gradients(port, GRAD, numerics, first, back, **config)
                for name in ("keys", "values", "retention", "step_size", *STATE[:-1]):
                    gradient = before[f"grad.{name}"]
                    wanted = whole[f"grad.{name}"][:, : gradient.shape[1]]
                    what = f"{config['rule']} gradient of {name} through two calls in {numerics}"
                    assert_close(gradient, wanted, SAME[numerics], what)
                assert_slopes(port, numerics, config, inputs, ("keys",), seed)


@pytest.mark.spec("GRAD-4")
def test_gradients_at_the_ends_of_the_gates_are_finite_and_those_of_the_loop(port: Port) -> None:
    for numerics in precisions(port):
        for seed, config in enumerate(rules_in(port, numerics)):
            with where_declared():
                inputs = mixed_case(config, seed)
                for name in ("retention", "momentum_decay", "window_weights"):
                    inputs[name] = generator(seed).choice(np.array([0.0, 1.0, 0.5]), inputs[name].shape)
                assert_slopes(port, numerics, config, inputs, ("keys", "values", "initial"), seed)
                result, _ = differentiate(port, numerics, config, inputs, seed)
                for name in GATES:
                    assert np.isfinite(result[f"grad.{name}"]).all(), f"gradient of {name} is not finite in {numerics}"


@pytest.mark.spec("GRAD-4")
def test_no_product_of_small_decays_overflows_where_it_is_masked(port: Port) -> None:
    for numerics in precisions(port):
        for config in (rule("titans", chunk=64), rule("omega", "mlp", chunk=64)):
            with where_declared():
                inputs = case(config, time=40, window=2, seed=5)
                inputs |= {"position": np.array([64, 64]), "reset": 0 * inputs["reset"]}
                for name in ("retention", "momentum_decay"):
                    inputs[name] = 1e-9 * inputs[name]
                inputs = representable(GRAD, inputs)
                assert_slopes(port, numerics, config, inputs, ("keys", "weights", "step_size"), 5)


@pytest.mark.spec("GRAD-5")
def test_no_gradient_crosses_the_start_of_a_document_or_goes_back_in_time(port: Port) -> None:
    for numerics in precisions(port):
        for seed, config in enumerate(rules_in(port, numerics)):
            with where_declared():
                inputs = mixed_case(config, seed)
                asked = cotangents(inputs, seed)
                # Of row 1 only what follows its reset at token 2 is asked for.
                asked["reads"][1, :2] = 0.0
                result = run_with_gradients(port, GRAD, numerics, inputs, asked, **config)
                for name in ("keys", "values", "queries", *GATES):
                    assert not result[f"grad.{name}"][1, :2].any(), f"{config['rule']}: {name} of an earlier document"
                for name in STATE[:-1]:
                    assert not result[f"grad.{name}"][1].any(), f"{config['rule']}: {name} of an earlier document"
                    own = result[f"grad.{name}"][0].any()
                    assert own or without_effect(config, name), f"{config['rule']}: {name} of its own document"
                only = {name: np.zeros_like(value) for name, value in asked.items()}
                only["reads"][:, 3] = asked["reads"][:, 3]
                result = run_with_gradients(port, GRAD, numerics, inputs, only, **config)
                for name in ("keys", "values", "queries", *GATES):
                    assert not result[f"grad.{name}"][:, 4:].any(), f"{config['rule']}: {name} of a later token"


@pytest.mark.spec("GRAD-6")
def test_a_document_that_begins_gives_m_0_the_gradient_of_a_fresh_start(port: Port) -> None:
    for numerics in precisions(port):
        for seed, config in enumerate(rules_in(port, numerics)):
            with where_declared():
                reset = mixed_case(config, seed)
                reset["reset"][:, 0] = 1
                begun = fresh(reset) | {"reset": reset["reset"] * (np.arange(WRITES) > 0)}
                (first, _), (second, _) = (
                    differentiate(port, numerics, config, given, seed) for given in (reset, begun)
                )
                what = f"{config['rule']} gradient of M_0 in {numerics}"
                assert_close(first["grad.initial"], second["grad.initial"], SAME[numerics], what)
                for result in (first, second):
                    assert not result["grad.weights"].any(), f"{config['rule']}: gradient to a state that is not used"
                assert_slopes(port, numerics, config, begun, ("initial",), seed)

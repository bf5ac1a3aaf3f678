"""docs/spec/gradient.md: derivatives of reads and final state, against central differences of the loop."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from spec_tests.driver import Result, assert_close, run_with_gradients
from spec_tests.inputs import generator
from spec_tests.memory_cases import ARCHITECTURES, RULES, case, every_rule, expected, fresh, rule, tokens
from spec_tests.memory_grid import cotangents
from spec_tests.oracle.memory import GATES, STATE, Config, Inputs
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.ports.reference_memory import MEMORIES

GRAD = Op.MEMORY_GRAD
WRITES = 6
STEP, DIFFERENCES = 1e-5, 1e-7
"""Step of the central differences along a random direction, and their relative error."""


def mixed_case(config: Config, seed: int) -> dict[str, Array]:
    """Return two rows of six writes, over a border of chunks; a document begins in row 1 at token 2."""
    inputs = case(config, time=WRITES, window=3, seed=seed)
    inputs |= {"position": np.array([2, 7]), "reset": 0 * inputs["reset"]}
    inputs["reset"][1, 2] = 1
    for name in ("window_keys", "window_values"):
        inputs[name] = generator(seed + 500).standard_normal(inputs[name].shape)
    return inputs


def without_effect(config: Config, name: str) -> bool:
    """Return whether a rule ignores an input: `delta` has neither momentum nor a window of other tokens."""
    ignored = ("momentum", "momentum_decay", "window_keys", "window_values")
    return config["rule"] == "delta" and name in ignored


def differentiate(port: Port, config: Config, inputs: Inputs, seed: int) -> tuple[Result, dict[str, Array]]:
    asked = cotangents(inputs, seed)
    return run_with_gradients(port, GRAD, Numerics.F64, inputs, asked, **config), asked


def slope(config: Config, inputs: Inputs, asked: Inputs, name: str, direction: Array) -> float:
    """Return the derivative of sum(cotangent * output) of the loop along a direction in one input."""

    def loss(size: float) -> float:
        outputs = expected(config, {**inputs, name: inputs[name] + size * direction})
        return float(sum((outputs[output] * cotangent).sum() for output, cotangent in asked.items()))

    return (loss(STEP) - loss(-STEP)) / (2 * STEP)


def assert_slopes(port: Port, config: Config, inputs: Inputs, names: tuple[str, ...], seed: int) -> None:
    """Assert the gradients of `names` along two random directions each, and that they are not zero."""
    result, asked = differentiate(port, config, inputs, seed)
    rng = generator(seed + 100)
    for name in names:
        gradient = result[f"grad.{name}"]
        assert np.isfinite(gradient).all(), f"gradient of {name} is not finite"
        for _ in range(2):
            direction = rng.standard_normal(gradient.shape)
            actual = np.array((gradient * direction).sum())
            scale = np.sqrt((gradient**2).sum() * (direction**2).sum())
            wanted = slope(config, inputs, asked, name, direction)
            what = f"{config['rule']} {config['architecture']} gradient of {name}"
            assert abs(actual - wanted) <= DIFFERENCES * scale + 1e-9, f"{what}: slope {actual:.12g}, not {wanted:.12g}"
        assert gradient.any() or without_effect(config, name), f"{config['rule']} gradient of {name} is zero"


def assert_every_slope(port: Port, *names: str) -> None:
    for seed, config in enumerate(every_rule()):
        assert_slopes(port, config, mixed_case(config, seed), names, seed)
    for config in (rule("titans", "mlp", step_scale="mass"), rule("atlas", read="pre", boundary="truncate")):
        assert_slopes(port, config, mixed_case(config, 3), names, 3)


@pytest.mark.spec("GRAD-1")
def test_gradients_of_keys_values_and_queries_are_those_of_the_loop(port: Port) -> None:
    assert_every_slope(port, "keys", "values", "queries")


@pytest.mark.spec("GRAD-2")
def test_gradients_of_the_gates_are_those_of_the_loop(port: Port) -> None:
    assert_every_slope(port, *GATES)


@pytest.mark.spec("GRAD-3")
def test_gradients_of_m_0_and_of_the_state_are_those_of_the_loop(port: Port) -> None:
    assert_every_slope(port, "initial", *STATE[:-1])


@pytest.mark.spec("GRAD-3")
def test_gradients_go_through_the_state_from_call_to_call(port: Port) -> None:
    for seed, config in enumerate(every_rule()):
        inputs = mixed_case(config, seed)
        whole, asked = differentiate(port, config, inputs, seed)
        first, second = tokens(inputs, slice(0, 4)), tokens(inputs, slice(4, WRITES))
        state = expected(config, first)
        later = {**asked, "reads": asked["reads"][:, 4:]}
        second_result = run_with_gradients(
            port, GRAD, Numerics.F64, {**second, **{name: state[name] for name in STATE}}, later, **config
        )
        back = {name: second_result[f"grad.{name}"] for name in STATE[:-1]} | {"reads": asked["reads"][:, :4]}
        first_result = run_with_gradients(port, GRAD, Numerics.F64, first, back, **config)
        for name in ("keys", "values", "retention", "step_size", *STATE[:-1]):
            gradient = first_result[f"grad.{name}"]
            wanted = whole[f"grad.{name}"][:, : gradient.shape[1]]
            assert_close(gradient, wanted, 1e-10, f"{config['rule']} gradient of {name} through two calls")
        assert_slopes(port, config, inputs, ("keys",), seed)


@pytest.mark.spec("GRAD-4")
def test_gradients_at_the_ends_of_the_gates_are_finite_and_those_of_the_loop(port: Port) -> None:
    ends = np.array([0.0, 1.0, 0.5])
    for seed, config in enumerate(every_rule()):
        inputs = mixed_case(config, seed)
        for name in ("retention", "momentum_decay", "window_weights"):
            inputs[name] = generator(seed).choice(ends, inputs[name].shape)
        assert_slopes(port, config, inputs, ("keys", "values", "initial"), seed)
        for name in GATES:
            assert np.isfinite(differentiate(port, config, inputs, seed)[0][f"grad.{name}"]).all(), (
                f"gradient of {name}"
            )
    for config in (rule("titans", chunk=64), rule("omega", "mlp", chunk=64)):
        inputs = case(config, time=64, window=2, seed=5)
        inputs |= {"position": np.array([64, 64]), "reset": 0 * inputs["reset"]}
        tiny = {name: 1e-9 * inputs[name] for name in ("retention", "momentum_decay")}
        assert_slopes(port, config, inputs | tiny, ("keys", "weights", "step_size"), 5)


@pytest.mark.spec("GRAD-5")
def test_no_gradient_crosses_the_start_of_a_document_or_goes_back_in_time(port: Port) -> None:
    for seed, config in enumerate(every_rule()):
        inputs = mixed_case(config, seed)
        asked = cotangents(inputs, seed)
        # Of row 1 only what follows its reset at token 2 is asked for.
        asked["reads"][1, :2] = 0.0
        result = run_with_gradients(port, GRAD, Numerics.F64, inputs, asked, **config)
        for name in ("keys", "values", "queries", *GATES):
            assert not result[f"grad.{name}"][1, :2].any(), f"{config['rule']}: {name} of an earlier document"
        for name in STATE[:-1]:
            assert not result[f"grad.{name}"][1].any(), f"{config['rule']}: {name} of an earlier document"
            own = result[f"grad.{name}"][0].any()
            assert own or without_effect(config, name), f"{config['rule']}: {name} of its own document"
        only = {name: np.zeros_like(value) for name, value in asked.items()}
        only["reads"][:, 3] = asked["reads"][:, 3]
        result = run_with_gradients(port, GRAD, Numerics.F64, inputs, only, **config)
        for name in ("keys", "values", "queries", *GATES):
            assert not result[f"grad.{name}"][:, 4:].any(), f"{config['rule']}: {name} of a later token"


@pytest.mark.spec("GRAD-6")
def test_a_document_that_begins_gives_m_0_the_gradient_of_a_fresh_start(port: Port) -> None:
    for seed, config in enumerate(every_rule()):
        reset = mixed_case(config, seed)
        reset["reset"][:, 0] = 1
        fresh_start = fresh(reset) | {"reset": reset["reset"] * (np.arange(WRITES) > 0)}
        (first, _), (second, _) = (differentiate(port, config, given, seed) for given in (reset, fresh_start))
        assert_close(first["grad.initial"], second["grad.initial"], 1e-12, f"{config['rule']} gradient of M_0")
        for result in (first, second):
            assert not result["grad.weights"].any(), f"{config['rule']}: gradient to a state that is not used"
        assert_slopes(port, config, fresh_start, ("initial",), seed)


@pytest.mark.parametrize("form", [Op.MEMORY_SCAN, Op.MEMORY_CHUNKED])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", RULES)
def test_the_reference_passes_gradcheck_through_five_writes(name: str, architecture: str, form: Op) -> None:
    config = rule(name, architecture, chunk=2)
    inputs = tokens(mixed_case(config, 9), slice(0, 5))
    tensors = {name: torch.tensor(value) for name, value in inputs.items()}
    leaves = [name for name, value in tensors.items() if value.is_floating_point() and value.numel()]
    function: Callable[..., tuple[Tensor, ...]] = partial(outputs_of, form, config, tensors, leaves)
    arguments = [tensors[name].requires_grad_() for name in leaves]
    assert torch.autograd.gradcheck(
        function, arguments, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=True, check_undefined_grad=False
    )


def outputs_of(
    form: Op, config: Config, tensors: dict[str, Tensor], leaves: list[str], *values: Tensor
) -> tuple[Tensor, ...]:
    outputs = MEMORIES[form](config, tensors | dict(zip(leaves, values, strict=True)))
    return tuple(value for name, value in outputs.items() if value.is_floating_point() and value.numel())

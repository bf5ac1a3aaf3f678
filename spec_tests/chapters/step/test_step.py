"""docs/spec/step.md, against numpy optimisers on gradients by complex steps."""

from collections.abc import Mapping
from itertools import product
from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.step.calls import CONFIG, call
from spec_tests.chapters.step.operation import MOMENTS, OPTIMISERS, PARAMETERS, STATES
from spec_tests.chapters.step.oracle import train_steps
from spec_tests.chapters.step.packed import split
from spec_tests.contract.driver import assert_close, assert_same, in_turn, precisions, run
from spec_tests.contract.properties import assert_computes, representable
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Numerics, Op, Port, Scalar
from spec_tests.tally import where_declared

STEPS = Op.TRAIN_STEPS
SLACK: Final = {Numerics.F64: 1e4, Numerics.F32: 8.0, Numerics.BF16_IO: 8.0}
"""How much longer than one operation a chain of steps may round: gradients differ by it, and AdamW divides by them."""
PLAIN: Final[Mapping[str, Scalar]] = {"optimizer": "sgd", "clip": 0.0}


OFF: Final[Mapping[str, Scalar]] = {
    "optimizer": "mugrokfast",
    "beta1": 0.0,
    "beta2": 0.0,
    "momentum": 0.0,
    "alpha": 0.0,
    "strength": 0.0,
    "weight_decay": 0.0,
    "clip": 0.0,
    "qk_clip": 0.0,
    "muon_learning_rate": 0.0,
    "min_ratio": 0.0,
    "step0": 0,
}
"""Nothing is kept, nothing decays, nothing is bounded, and no matrix of Muon moves."""


def assert_steps(port: Port, numerics: Numerics, inputs: Mapping[str, Array], changes: Mapping[str, Scalar]) -> None:
    """Assert that losses, norms, parameters, moments and states are those of the loops."""
    config = {**CONFIG, **changes}
    with where_declared():
        result = run(port, STEPS, numerics, representable(STEPS, inputs), **config)
        for name, value in train_steps(config, result.inputs, FORWARD).items():
            result.assert_close(name, value, factor=SLACK[numerics])


@pytest.mark.spec("STEP-1")
def test_the_loss_is_the_mean_over_targets_that_go_on_with_a_document(port: Port) -> None:
    inputs = call(21, steps=2)
    # Most targets of the second row begin documents: the rows have three targets and one.
    inputs["reset"][:, 0, [1, 3]] = 1
    inputs["reset"][:, 1, 1:] = 1
    inputs["reset"][1, 1, 2] = 0
    nothing = {**inputs, "reset": np.ones_like(inputs["reset"])}
    for numerics in precisions(port):
        assert_steps(port, numerics, inputs, PLAIN)
        # Nothing is to be learned where no token goes on.
        assert_steps(port, numerics, nothing, PLAIN)


@pytest.mark.spec("STEP-2")
def test_gradients_are_clipped_by_the_norm_of_all_before_anything_else(port: Port) -> None:
    for turn, (optimizer, clip) in enumerate(product(("adamw", "mugrokfast"), (0.5, 100.0))):
        assert_steps(port, in_turn(port, turn), call(22, steps=2), {"optimizer": optimizer, "clip": clip})


@pytest.mark.spec("STEP-3")
def test_parameters_and_moments_are_those_of_each_optimiser(port: Port) -> None:
    still: dict[str, Scalar] = {**PLAIN, "weight_decay": 0.0, "learning_rate": 0.5}
    for numerics in precisions(port):
        for optimizer in OPTIMISERS:
            assert_steps(port, numerics, call(23, steps=2), {"optimizer": optimizer, "step0": 2})
        # A decay of zero is none, which a step without gradients that differ by rounding shows in single precision too.
        assert_steps(port, numerics, call(31, steps=1, time=2), still)
        # With an eps this small a step is the sign of a gradient, which double precision alone tells near zero.
        if numerics is Numerics.F64:
            assert_steps(port, numerics, call(30, steps=2, fresh=True), {"eps": 1e-8})
    assert_steps(port, in_turn(port, 1), call(23, steps=2, fresh=True), {"optimizer": "mugrokfast", "step0": 2})
    assert_steps(port, in_turn(port, 2), call(29, steps=1, time=2, positions=(5, 2, 0, 1, 9), vocabulary=3), OFF)


@pytest.mark.spec("STEP-4")
def test_the_tied_embedding_and_the_first_memory_get_their_gradients(port: Port) -> None:
    for turn, (inner_grad, carry) in enumerate(product(("full", "detached"), (True, False))):
        changes = {**PLAIN, "inner_grad": inner_grad, "carry_state": carry, "learning_rate": 0.1}
        assert_steps(port, in_turn(port, turn), call(24, steps=2, positions=(0, 3)), changes)
    assert_steps(port, in_turn(port, 1), call(32, steps=1, time=65, positions=(3,)), PLAIN)


@pytest.mark.spec("STEP-5")
def test_the_state_is_handed_on_row_by_row_without_its_history(port: Port) -> None:
    inputs = call(25, steps=3, positions=(5, 4))
    inputs["reset"][:] = 0
    for turn, (optimizer, carry) in enumerate(product(("sgd", "muon"), (True, False))):
        changes: dict[str, Scalar] = {"optimizer": optimizer, "carry_state": carry, "learning_rate": 0.1}
        assert_steps(port, in_turn(port, turn + 1), inputs, changes)


@pytest.mark.spec("STEP-6")
def test_a_parameter_whose_gradient_is_zero_stays_as_it_is(port: Port) -> None:
    inputs = call(26, steps=2, positions=(7, 4))
    # No document begins, so nothing reads the first memory.
    inputs["reset"][:] = 0
    shapes = {tensor.name: inputs[tensor.name] for tensor in PARAMETERS}
    for turn, optimizer in enumerate(OPTIMISERS):
        numerics = in_turn(port, turn)
        with where_declared():
            config: dict[str, Scalar] = {**CONFIG, "optimizer": optimizer, "carry_state": False}
            result = run(port, STEPS, numerics, inputs, **config)
            for what in ("parameters", "slow", "mean", "square"):
                after = split(result[what], shapes)
                for name in ("0.initial", "1.initial"):
                    before = result.inputs[name] if what == "parameters" else split(result.inputs[what], shapes)[name]
                    assert_same(after[name], before, f"{what} of {name}, which has no gradient")
            for number, tensor in enumerate(PARAMETERS):
                more = 0 if tensor.name.endswith((".initial", ".coefficients")) else 2
                count = result["updates"][number] - result.inputs["updates"][number]
                assert count == more, f"{tensor.name} was updated {count} times, not {more}"


@pytest.mark.spec("STEP-7")
def test_the_schedule_multiplies_every_rate_and_counts_from_its_first_step(port: Port) -> None:
    starts = (("sgd", 1, 3), ("muon", 2, 3), ("mugrokfast", 4, 0), ("muon", 7, 2))
    for turn, (optimizer, step0, warmup) in enumerate(starts):
        rates: dict[str, Scalar] = {"step0": step0, "warmup_steps": warmup, "min_ratio": 0.25, "learning_rate": 0.05}
        assert_steps(port, in_turn(port, turn + 2), call(27, steps=2), {"optimizer": optimizer, **rates})


@pytest.mark.spec("STEP-8")
def test_steps_in_one_call_are_steps_in_several(port: Port) -> None:
    inputs = call(28, steps=2)
    kept = [tensor.name for tensor in (*MOMENTS, *STATES)]
    for turn, optimizer in enumerate(OPTIMISERS):
        numerics = in_turn(port, turn + 1)
        with where_declared():
            config: dict[str, Scalar] = {**CONFIG, "optimizer": optimizer, "inner_grad": "detached"}
            whole = run(port, STEPS, numerics, inputs, **config)
            assert_computes(whole)
            first = run(port, STEPS, numerics, {**inputs, **batches(inputs, slice(0, 1))}, **config)
            parameters = split(first["parameters"], {tensor.name: inputs[tensor.name] for tensor in PARAMETERS})
            handed = {**parameters, **{name: first[name] for name in kept}}
            later = {**inputs, **handed, **batches(inputs, slice(1, None))}
            rest = run(port, STEPS, numerics, later, **{**config, "step0": 2})
            for name in ("losses", "grad_norms"):
                parts = np.concatenate([first[name], rest[name]])
                assert_close(parts, whole[name], rest.tolerance(name), f"{name} of two calls in {numerics}")
            for name in ("parameters", *kept):
                assert_close(rest[name], whole[name], SLACK[numerics] * rest.tolerance(name), f"{name} after two calls")


def batches(inputs: Mapping[str, Array], part: slice) -> dict[str, Array]:
    """Return some of the batches."""
    return {name: inputs[name][part] for name in ("tokens", "reset")}

"""`titans-pytorch` as it is on PyPI against the loops of the specification: what docs/porting-titans-pytorch.md says.

Skipped, with the reason, where the `bench` extra is not installed.
"""

from dataclasses import replace
from importlib import import_module
from itertools import product

import numpy as np
import pytest

from spec_tests.chapters.memory_chunked.grid import cotangents
from spec_tests.chapters.memory_step.calls import ARCHITECTURES, assert_loop, case, rule
from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.contract.driver import Result, assert_close, run, run_with_gradients
from spec_tests.port import Array, Declaration, Numerics, Op, Port, Scalar
from spec_tests.ports.reference import ReferencePort

pytest.importorskip("titans_pytorch", reason="titans-pytorch is the `bench` extra")
PORT: Port = import_module("spec_tests.ports.titans_pytorch").TitansPytorchPort()
FORMS = (Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)


class Undeclared:
    """The same port, with nothing left out by its declaration."""

    run = PORT.run

    def declare(self) -> Declaration:
        """Declare the operations in full."""
        return replace(PORT.declare(), only={})


def call(config: dict[str, Scalar], seed: int) -> dict[str, Array]:
    """Return a call of two rows out of phase with documents that begin inside, windows of one token."""
    return case(config, time=9, window=1, seed=seed, document=5)


def test_its_titans_rule_is_that_of_the_specification() -> None:
    for seed, (architecture, chunk, scale) in enumerate(product(ARCHITECTURES, (1, 4, 16), (0.5, 1.0))):
        config = rule("titans", architecture, chunk=chunk, loss_scale=scale)
        for op, numerics in product(FORMS, PORT.declare().numerics):
            assert_loop(run(PORT, op, numerics, call(config, seed), **config), config)


def test_its_gradients_under_the_titans_rule_are_those_of_the_reference() -> None:
    for seed, architecture in enumerate(ARCHITECTURES):
        config = rule("titans", architecture)
        inputs = call(config, seed)
        asked = cotangents(inputs, seed)
        results = [
            run_with_gradients(port, Op.MEMORY_GRAD, Numerics.F64, inputs, asked, **config)
            for port in (PORT, ReferencePort())
        ]
        for name, wanted in results[1].outputs.items():
            assert_close(results[0][name], wanted, 1e-10, f"{architecture} {name}")


def newton_schulz(matrix: Array, steps: int) -> Result:
    inputs = {"matrix": matrix[None]}
    return run(PORT, Op.NEWTON_SCHULZ, Numerics.F64, inputs, steps=steps, coefficients="quintic", start="clamp")


def test_its_newton_schulz_is_the_iteration_from_a_norm_that_is_clamped_and_not_lengthened() -> None:
    matrix = np.random.Generator(np.random.Philox(key=1)).standard_normal((3, 5))
    length = np.sqrt((matrix**2).sum())
    result = newton_schulz(matrix, 5)["orthogonal"][0]
    assert_close(result, iteration(matrix, "quintic", 5, offset=0.0), 1e-12, "from G / ||G||")
    gap = np.abs(result - iteration(matrix, "quintic", 5)).max()
    assert 1e-10 < gap < 1e-5, f"off from G / (||G|| + 1e-7) by {gap}"
    # From the length 1e-7 down both divide by about that.
    tiny = newton_schulz(1e-20 * matrix, 0)["orthogonal"][0]
    assert_close(tiny, 1e-13 * matrix, 1e-6, f"norm {1e-20 * length:.1g}")


def test_its_spectral_norm_is_the_rule_atlas_appendix_but_for_that_start() -> None:
    for architecture in ARCHITECTURES:
        config = rule("atlas_appendix", architecture, chunk=4, coefficients="quintic")
        inputs = case(config, time=1, window=1, seed=3)
        for op in FORMS:
            result = run(Undeclared(), op, Numerics.F64, inputs, **config)
            result.assert_close("momentum", run(ReferencePort(), op, Numerics.F64, inputs, **config)["momentum"])
            assert_loop(result, config, factor=1e7)

"""The jax port against the loops of the specification: a fast part of what a run of the suite with `--port` asks.

Skipped, with the reason, where the `jax` extra is not installed.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

from spec_tests.chapters.memory_chunked.grid import EQUAL, cotangents, gradients
from spec_tests.chapters.memory_step.calls import ARCHITECTURES, RULES, assert_loop, case, rule, worst
from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.contract.driver import assert_same, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import generator
from spec_tests.port import PROFILES, Array, Numerics, Op, Port, round_to_bf16
from spec_tests.ports.reference import ReferencePort
from spec_tests.sampling import marks_of, sample
from spec_tests.vectors.case import load_cases
from spec_tests.vectors.judge import check

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="jax is the `jax` extra")
FORMS = (Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)


@cache
def jax_port() -> Port:
    """Return the port; jax takes more than a second to import, which a process without these tests does without."""
    port: Port = import_module("spec_tests.ports.jax").JaxPort()
    return port


def test_it_answers_every_operation_but_those_of_a_whole_model_of_miras_and_of_its_training() -> None:
    axes = {Op.MIRAS_SCAN, Op.MIRAS_CHUNKED, Op.RIDGE_SCAN, Op.MEMORY_HIERARCHICAL, Op.MEMORY_SCHEDULE, Op.SLOT_MEMORY}
    training = {
        Op.STABLEMAX_LOSS,
        Op.MUGROKFAST_STEP,
        Op.TRAIN_STEPS,
        Op.QK_CLIP_IN_SIGHT,
        Op.HALT_LOSS,
        Op.EPISODE_ROWS,
        Op.EPISODE_LOSS,
        Op.GATE_FLOOR,
        Op.MEMORY_TELEMETRY,
        Op.RETRIEVAL_GAIN,
        Op.TRM_RECURSION,
        Op.SUPERVISED_LOSS,
        Op.CONCENTRATION_NULL,
        Op.GROKKING_PHASES,
    }
    others = {op for op, row in OPERATIONS.items() if row.level != 4}
    assert jax_port().declare().operations == others - axes - training


# Compiling takes seconds, so one rule stands for the others in each architecture.
@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        pytest.param(*cell, marks=marks_of(cell in {("titans", "matrix"), ("omega", "mlp")}))
        for cell in product(RULES, ARCHITECTURES)
    ],
)
def test_both_forms_are_the_loop_in_every_precision(name: str, architecture: str) -> None:
    seed = list(product(RULES, ARCHITECTURES)).index((name, architecture))
    config = rule(name, architecture, step_scale=("literal", "mass")[seed % 2], read=("post", "pre")[seed % 3 == 0])
    inputs = case(config, time=11, seed=seed, document=5)
    for op, numerics in product(FORMS, PROFILES):
        assert_loop(run(jax_port(), op, numerics, inputs, **config), config)


@pytest.mark.parametrize(
    ("name", "architecture", "seed"), sample([("omega", "matrix", 1), ("titans", "mlp", 0), ("atlas", "matrix", 2)])
)
def test_the_parallel_form_has_the_gradients_of_the_reference(name: str, architecture: str, seed: int) -> None:
    config = rule(name, architecture)
    inputs = case(config, time=11, seed=seed, document=5)
    asked = cotangents(inputs, seed)
    actual, wanted = (
        run_with_gradients(port, Op.MEMORY_GRAD, Numerics.F64, inputs, asked, **config)
        for port in (jax_port(), ReferencePort())
    )
    assert worst(actual.outputs, gradients(wanted)) <= EQUAL


def test_a_chunk_longer_than_a_block_keeps_its_anchor() -> None:
    config = rule("omega", "mlp", chunk=50)
    inputs = case(config, time=70, seed=4, document=200)
    assert_loop(run(jax_port(), Op.MEMORY_CHUNKED, Numerics.F64, inputs, **config), config)


def test_padding_of_rows_tokens_and_window_does_not_show() -> None:
    config = rule("titans")
    inputs = case(config, batch=3, time=17, window=5, seed=5, document=6)
    for op in FORMS:
        assert_loop(run(jax_port(), op, Numerics.F64, inputs, **config), config)


def test_places_without_a_token_hold_nothing_of_a_document_that_diverged() -> None:
    """Kills: a padded place that stands for the first token of its row, whose gates times zero are no number."""
    config = rule("titans")
    inputs = case(config, batch=3, time=17, window=5, seed=5, document=6)
    inputs["reset"][0], inputs["reset"][0, 9] = 0, 1
    spoilt = {name: inputs[name].copy() for name in ("keys", "values", "queries", "retention", "window_weights")}
    for value in spoilt.values():
        value[0, :9] = np.inf
    plain, among = (run(jax_port(), Op.MEMORY_CHUNKED, Numerics.F64, inputs | x, **config) for x in ({}, spoilt))
    for found in (plain, among):
        found.outputs["reads"][0, :9] = 0.0
    for name, value in plain.outputs.items():
        assert_same(among[name], value, f"{name} behind a document that diverged")


def test_programs_are_forgotten_before_the_process_has_no_memory_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a run of the whole suite that ends in the compiler, which gets no more mappings of memory."""
    module = import_module("spec_tests.ports.jax.port")
    monkeypatch.setattr(module, "PROGRAMS", 2)
    monkeypatch.setattr(module, "_kept", set())
    kept = []
    for rows in (1, 1, 9, 70, 150):
        run(jax_port(), Op.L2_NORMALIZE, Numerics.F64, {"x": generator(3).standard_normal((rows, 3))}, eps=1e-6)
        kept.append(len(module._kept))
    assert kept == [1, 1, 2, 1, 2]


def test_newton_schulz_is_the_iteration() -> None:
    matrix = generator(6).standard_normal((2, 5, 3))
    for numerics, name in product(PROFILES, ("quintic", "cubic", "polar_express")):
        result = run(jax_port(), Op.NEWTON_SCHULZ, numerics, {"matrix": matrix}, coefficients=name, steps=4)
        expected = np.stack([iteration(m, name, 4) for m in result.inputs["matrix"]])
        result.assert_close("orthogonal", expected, factor=10.0)


def test_the_gate_of_a_projection_and_its_gradients_are_the_stored_ones() -> None:
    """Kills: a tanh that lost its derivative, which no call of it survives."""
    stored = next(stored for stored in load_cases(op=Op.QK_GATE) if stored.cotangents)
    check(jax_port(), stored, Numerics.F64)


def reads(inputs: dict[str, Array], numerics: Numerics) -> Array:
    config = rule("omega")
    return np.asarray(run(jax_port(), Op.MEMORY_SCAN, numerics, inputs, **config)["reads"])


def test_reads_are_rounded_to_bfloat16_and_computed_in_single_precision() -> None:
    inputs = case(rule("omega"), time=6, seed=7)
    for name in ("keys", "values", "queries"):
        inputs[name] = round_to_bf16(inputs[name])
    assert_same(reads(inputs, Numerics.BF16_IO), round_to_bf16(reads(inputs, Numerics.F32)), "reads")


def test_calls_leave_the_modes_of_jax_alone() -> None:
    import jax.numpy as jnp

    before = jnp.asarray(1.0).dtype
    run(jax_port(), Op.MEMORY_SCAN, Numerics.F64, case(rule("omega"), time=3), **rule("omega"))
    assert jnp.asarray(1.0).dtype == before


def test_a_compile_option_that_this_xla_does_not_have_is_left_out_and_no_other_one() -> None:
    """Kills: options that are handed to any version of XLA, which lost one from jax 0.10 to 0.11 and refused all."""
    known = import_module("spec_tests.ports.jax.port").known_options
    level = {"xla_backend_optimization_level": "0"}
    assert known({**level, "xla_no_such_option": "False"}) == level

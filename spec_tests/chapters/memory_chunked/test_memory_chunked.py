"""docs/spec/memory_chunked.md: what a chunk means in both forms; the parallel form against loop and recurrence."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_chunked.grid import AXES, EQUAL, call, describe, errors
from spec_tests.chapters.memory_step.calls import (
    FEATURES,
    ORTHOGONALISED,
    VALUES,
    amplification,
    assert_loop,
    case,
    forms,
    rule,
    tokens,
)
from spec_tests.chapters.memory_step.declared import each_rule
from spec_tests.chapters.memory_step.loop import Inputs
from spec_tests.contract.domain import within
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.drawing.pairwise import covering
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

CHUNKED = Op.MEMORY_CHUNKED
GRID: Final = {**AXES, "time": (0, 1, 7, 34)}
"""The grid with shorter calls: many chunks of four, whole and partial ones of 16; benchmarks run all of it."""
LINEAR: Final = {
    **AXES,
    "rule": ("titans", "omega", "delta"),
    "time": (1, 9),
    "chunk": (1, 4, "T+3"),
    "window": (1, 3),
    "basis": ("monomial_weighted",),
}
"""The part of it in which rounding does not grow, for single precision."""


@pytest.mark.spec("CHUNK-1")
def test_gradients_are_taken_at_the_memory_before_the_first_token_of_the_chunk(port: Port) -> None:
    for op, numerics in forms(port):
        for config in each_rule(port, numerics):
            if config["chunk"] != 4:  # A port of single tokens: the borders below are those of chunks of 4.
                continue
            with where_declared():
                inputs = case(config, time=6, seed=1)
                inputs |= {"position": np.array([4, 6]), "reset": 0 * inputs["reset"]}
                result = run(port, op, numerics, inputs, **config)
                # Row 0 enters at a border and has another at token 4; row 1 has borders at tokens 2 and 6.
                for row, border in ((0, 4), (1, 2)):
                    with where_declared():
                        opening = run(port, op, numerics, tokens(inputs, slice(0, border)), **config)["weights"][row]
                        tolerance = result.tolerance("anchor")
                        assert_close(
                            result["anchor"][row], opening, tolerance, f"{op} {config['rule']} anchor of row {row}"
                        )
                assert_loop(result, config)
                with where_declared():
                    other = run(port, op, numerics, inputs, **{**config, "chunk": 1})
                    gap = np.abs(other["reads"] - result["reads"]).max() / np.abs(result["reads"]).max()
                    assert gap > 1e-3, f"{op} {config['rule']}: the chunk length means nothing"


@pytest.mark.spec("CHUNK-2")
def test_chunks_are_counted_from_the_start_of_the_document(port: Port) -> None:
    for op, numerics in forms(port):
        for config in (rule("omega", chunk=5), rule("atlas", "mlp", chunk=5)):
            with where_declared():
                inputs = case(config, batch=3, time=11, seed=2)
                inputs |= {"position": np.array([3, 10, 7]), "reset": 0 * inputs["reset"]}
                inputs["reset"][1, 4] = 1
                result = run(port, op, numerics, inputs, **config)
                # Borders: row 0 at tokens 2, 7; row 1 at 0, then 4, 9 after its reset; row 2 at 3, 8.
                for row, border in ((0, 7), (1, 9), (2, 8)):
                    with where_declared():
                        opening = run(port, op, numerics, tokens(inputs, slice(0, border)), **config)["weights"][row]
                        tolerance = result.tolerance("anchor")
                        assert_close(
                            result["anchor"][row], opening, tolerance, f"{op} {config['rule']} anchor of row {row}"
                        )
                assert_loop(result, config)
    assert_rows_in_step(port)


def assert_rows_in_step(port: Port) -> None:
    """Rows of one phase invite a layout without padding: its borders, and a document from token 1 on, must stay."""
    config = rule("omega", chunk=4)
    for op, numerics in forms(port):
        for position, begins in ((0, 0), (4, 0), (5, 0), (7, 0), (6, 1), (6, 4)):
            with where_declared():
                inputs = case(config, time=10, seed=position)
                inputs |= {"position": np.full_like(inputs["position"], position), "reset": 0 * inputs["reset"]}
                inputs["reset"][:, begins] = begins > 0
                assert_loop(run(port, op, numerics, inputs, **config), config)


def matrix(packed: Array) -> Array:
    return packed.reshape(*packed.shape[:2], VALUES, FEATURES)


def closed_form(inputs: Inputs, name: str, time: int) -> Array:
    """Return M after `time` tokens of one chunk as the nested sums of CHUNK-3, for c = 1."""
    alpha, theta, eta = (inputs[gate][..., None, None] for gate in ("retention", "momentum_decay", "step_size"))
    gamma = inputs["window_weights"][..., None]
    error = np.einsum("bhvf,bthf->bthv", matrix(inputs["anchor"]), inputs["keys"]) - inputs["values"]
    gradient = gamma * np.einsum("bthv,bthf->bthvf", error, inputs["keys"])
    intake, release = (-eta, np.ones_like(eta)) if name == "titans" else (np.ones_like(eta), -eta)
    total = alpha.prod(1) * matrix(inputs["weights"])
    for i in range(time):
        momentum = theta[:, : i + 1].prod(1) * matrix(inputs["momentum"])
        for j in range(i + 1):
            momentum = momentum + theta[:, j + 1 : i + 1].prod(1) * intake[:, j] * gradient[:, j]
        total = total + alpha[:, i + 1 :].prod(1) * release[:, i] * momentum
    return np.asarray(total.reshape(inputs["weights"].shape))


@pytest.mark.spec("CHUNK-3")
def test_inside_a_chunk_the_linear_rules_are_nested_sums(port: Port) -> None:
    for op, numerics in forms(port):
        for name in ("titans", "omega"):
            with where_declared():
                config = rule(name, chunk=16)
                inputs = case(config, time=9, window=1, seed=3)
                inputs |= {"position": np.array([17, 21]), "reset": 0 * inputs["reset"]}
                result = run(port, op, numerics, inputs, **config)
                result.assert_close("weights", closed_form(result.inputs, name, 9))


@pytest.mark.spec("CHUNK-4")
def test_a_chunk_of_one_token_takes_gradients_at_the_memory_just_written(port: Port) -> None:
    for op, numerics in forms(port):
        with where_declared():
            config = rule("delta", chunk=1)
            inputs = case(config, time=9, window=1, seed=4)
            inputs |= {"position": np.array([5, 6]), "reset": 0 * inputs["reset"]}
            inputs["window_weights"] = np.ones_like(inputs["window_weights"])
            result = run(port, op, numerics, inputs, **config)
            x, weights = result.inputs, matrix(result.inputs["weights"])
            for t in range(9):
                key, step = x["keys"][:, t], x["step_size"][:, t, :, None, None]
                decay = (
                    x["retention"][:, t, :, None, None] * np.eye(FEATURES) - step * key[..., None] * key[..., None, :]
                )
                weights = weights @ decay + step * x["values"][:, t, :, :, None] * key[..., None, :]
            result.assert_close("weights", weights.reshape(result["weights"].shape))


@pytest.mark.long
@pytest.mark.spec("CHUNK-5")
def test_the_parallel_form_is_the_loop(port: Port) -> None:
    for numerics in precisions(port):
        for seed, cell in enumerate(covering(within(port.declare(), {**AXES, "time": (1, 7, 14)}), seed=2)):
            with where_declared():
                config, inputs = call(cell, seed)
                result = run(port, CHUNKED, numerics, inputs, **config)
                assert_loop(result, config)


NEARLY = {Numerics.F64: EQUAL, Numerics.F32: 3e-3, Numerics.BF16_IO: 6e-2}
"""What rounding leaves of the equality: gradients in `bf16_io` are rounded to bfloat16 in either form."""


@pytest.mark.spec("CHUNK-5", "CHUNK-6")
def test_the_parallel_form_equals_the_recurrence_in_outputs_splits_and_gradients(port: Port) -> None:
    for numerics in precisions(port):
        double = numerics is Numerics.F64
        for seed, cell in enumerate(covering(within(port.declare(), GRID if double else LINEAR))):
            with where_declared():
                for what, error in errors(port, cell, seed, numerics).items():
                    assert error <= NEARLY[numerics], f"{what} differ by {error:.3g} in {numerics}, {describe(cell)}"


def test_the_cases_under_newton_schulz_are_well_posed() -> None:
    """An error of 1e-10 in the parallel form is a fault only where rounding alone cannot make one."""
    cells = [
        (seed, cell)
        for seed, cell in enumerate(covering(GRID))
        if cell["rule"] in ORTHOGONALISED and cell["time"] >= 34
    ]
    assert {cell["rule"] for _, cell in cells} == set(ORTHOGONALISED)
    for seed, cell in cells:
        ulps = amplification(*call(cell, seed))
        assert ulps * np.finfo(np.float64).eps < 0.1 * EQUAL, f"rounding grows {ulps:.3g} times in {describe(cell)}"

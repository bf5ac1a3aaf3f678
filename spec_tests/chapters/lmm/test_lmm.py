"""docs/spec/lmm.md, beside the other chapters' loops put together in numpy."""

import numpy as np
import pytest

from spec_tests.chapters.lmm.calls import config
from spec_tests.chapters.mal.calls import call, unmarked, unwritten
from spec_tests.contract.by_loops import assert_answers, assert_results, assert_slopes
from spec_tests.contract.driver import assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_any_split_agrees, assert_causal, assert_rows_independent, unchanged
from spec_tests.drawing.inputs import generator, splits
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

LMM = Op.LMM_BLOCK
STATE = tuple(tensor.name for tensor in OPERATIONS[LMM].outputs if tensor.name != "y")
FOR_THE_MEMORY = (
    *("memory_projection", "convolution", "gates_weight", "gates_bias", "coefficients", "initial", "log_gain"),
    *("weights", "momentum", "window_values"),
)
OUTSIDE = ("x", "norm", "memory_norm", "gate_weight", "output")
CONFIGS = (config(), config(floor=0.0, chunk=3))


@pytest.mark.spec("LMM-1")
def test_the_memory_is_all_behind_a_gate_of_the_token(port: Port) -> None:
    for numerics in precisions(port):
        for number, floor in enumerate((0.0, 0.2, 0.6)):
            with where_declared():
                assert_results(port, LMM, numerics, config(floor=floor, chunk=1 + number), call(LMM, 1 + number))


@pytest.mark.spec("LMM-1")
def test_a_memory_of_zeros_leaves_what_came(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LMM, numerics, unwritten(LMM, 13), **CONFIGS[0])
            assert_same(result["y"], result.inputs["x"], f"y of a memory of zeros in {numerics}")
            # And one that holds something adds what the loops say.
            assert_results(port, LMM, numerics, CONFIGS[0], unmarked(call(LMM, 13, (4, 2))))


@pytest.mark.long
@pytest.mark.spec("LMM-2")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        for given in CONFIGS:
            with where_declared():
                assert_any_split_agrees(port, LMM, numerics, call(LMM, 3), splits(9, 8), **given)


@pytest.mark.spec("LMM-2")
def test_places_that_a_document_does_not_have_hold_zeros(port: Port) -> None:
    # Row 0 ends with the first token of its document.
    inputs = call(LMM, 4, time=5)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LMM, numerics, inputs, **CONFIGS[0])
            assert_answers(result, CONFIGS[0])
            for name in ("tail",):
                assert not result[name][0, :-1].any(), f"{name} holds what the document does not have in {numerics}"


@pytest.mark.spec("LMM-3")
def test_a_reset_is_a_fresh_start_in_every_part(port: Port) -> None:
    inputs = unmarked(call(LMM, 5))
    inputs["reset"][:, 0] = 1
    start = np.broadcast_to(inputs["initial"], inputs["weights"].shape)
    fresh = {name: 0 * inputs[name] for name in STATE} | {"weights": start, "anchor": start}
    for numerics in precisions(port):
        with where_declared():
            running = run(port, LMM, numerics, inputs, **CONFIGS[0])
            begun = run(port, LMM, numerics, {**inputs, **fresh}, **CONFIGS[0])
            for name in (*STATE, "y"):
                assert_close(running[name], begun[name], unchanged(begun, name), f"{name} after a reset")
            assert_answers(running, CONFIGS[0])
            plain = run(port, LMM, numerics, unmarked(inputs), **CONFIGS[0])
            assert not np.allclose(plain["y"], running["y"]), "the marks are not read"


@pytest.mark.spec("LMM-4")
def test_rows_and_the_future_do_not_count(port: Port) -> None:
    for numerics in precisions(port):
        for given in CONFIGS:
            with where_declared():
                assert_rows_independent(port, LMM, numerics, unmarked(call(LMM, 6)), **given)
                assert_causal(port, LMM, numerics, call(LMM, 7), (3, 7), **given)


@pytest.mark.spec("LMM-5")
def test_the_gradients_are_those_of_the_block(port: Port) -> None:
    small = {"time": 6, "values": 2, "key": 2, "tokens": 1}
    for numerics in precisions(port):
        for number, given in enumerate(CONFIGS):
            with where_declared():
                assert_slopes(port, LMM, numerics, given, call(LMM, 8 + number, (5,), **small), apart=True)


@pytest.mark.spec("LMM-5")
def test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before(port: Port) -> None:
    inputs = call(LMM, 12, (5,), time=6)
    weight = {"y": generator(13).standard_normal(inputs["x"].shape)}
    for numerics in precisions(port):
        for given in CONFIGS:
            with where_declared():
                full = run_with_gradients(port, LMM, numerics, inputs, weight, **given)
                result = run_with_gradients(port, LMM, numerics, inputs, weight, **{**given, "inner_grad": "detached"})
                assert_close(
                    result["y"], full["y"], unchanged(full, "y"), "y with and without a gradient through the reads"
                )
                assert_answers(full, given)
                for name in FOR_THE_MEMORY:
                    assert not result[f"grad.{name}"].any(), f"detached, and yet {name} has a gradient in {numerics}"
                    assert full[f"grad.{name}"].any(), f"{name} has no gradient in {numerics}"
                for name in OUTSIDE:
                    assert result[f"grad.{name}"].any(), f"detached, and so {name} has no gradient in {numerics}"

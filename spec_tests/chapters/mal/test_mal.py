"""docs/spec/mal.md, beside the other chapters' loops put together in numpy."""

import numpy as np
import pytest

from spec_tests.chapters.mal.calls import call, config, unmarked, unwritten
from spec_tests.contract.by_loops import assert_answers, assert_results, assert_slopes
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_any_split_agrees, assert_causal, assert_rows_independent, unchanged
from spec_tests.drawing.inputs import generator, splits
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

MAL = Op.MAL_BLOCK
STATE = tuple(tensor.name for tensor in OPERATIONS[MAL].outputs if tensor.name != "y")
FOR_THE_MEMORY = (
    *("memory_projection", "convolution", "gates_weight", "gates_bias", "coefficients", "initial", "log_gain"),
    *("weights", "momentum", "window_values"),
)
OUTSIDE = ("x", "attention_projection", "persistent", "memory_norm", "memory_output", "output")
CONFIGS = (config(), config(inner_residual=True, chunk=3))


@pytest.mark.spec("MAL-1")
def test_attention_sees_what_the_memory_reads_and_nothing_else(port: Port) -> None:
    for numerics in precisions(port):
        for number, span in enumerate((1, 3, 6)):
            with where_declared():
                assert_results(port, MAL, numerics, config(chunk=1 + number), call(MAL, 1 + number, span=span))


@pytest.mark.spec("MAL-1")
def test_a_memory_of_zeros_leaves_the_mean_of_what_is_in_sight(port: Port) -> None:
    """Reads of zero make queries, keys and values of zero: all weights are the same, persistent values alone count."""
    inputs, span = unwritten(MAL, 14), 3
    for numerics in precisions(port):
        with where_declared():
            result = run(port, MAL, numerics, inputs, **config())
            x = result.inputs
            values = x["persistent"] @ np.split(x["attention_projection"], 3)[2].T
            sight = np.minimum(np.arange(9) + 1, span) + len(values)
            wanted = x["x"] + (values.sum(0) / sight[:, None]) @ x["output"].T
            result.assert_close("y", wanted, factor=4.0)
            assert not result["weights"].any(), f"a memory with steps of zero was written in {numerics}"


@pytest.mark.spec("MAL-2")
def test_two_sublayers_have_a_residual_and_a_norm_each(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, MAL, numerics, config(inner_residual=True), call(MAL, 2))


@pytest.mark.long
@pytest.mark.spec("MAL-3")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        for given in CONFIGS:
            with where_declared():
                assert_any_split_agrees(port, MAL, numerics, call(MAL, 3), splits(9, 8), **given)


@pytest.mark.spec("MAL-3")
def test_places_that_a_document_does_not_have_hold_zeros(port: Port) -> None:
    # Row 0 ends with the first token of its document.
    inputs = call(MAL, 4, time=5)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, MAL, numerics, inputs, **CONFIGS[0])
            assert_answers(result, CONFIGS[0])
            for name in ("cache_keys", "cache_values", "tail"):
                assert not result[name][0, :-1].any(), f"{name} holds what the document does not have in {numerics}"


@pytest.mark.spec("MAL-4")
def test_a_reset_is_a_fresh_start_in_every_part(port: Port) -> None:
    inputs = unmarked(call(MAL, 5))
    inputs["reset"][:, 0] = 1
    start = np.broadcast_to(inputs["initial"], inputs["weights"].shape)
    fresh = {name: 0 * inputs[name] for name in STATE} | {"weights": start, "anchor": start}
    for numerics in precisions(port):
        with where_declared():
            running = run(port, MAL, numerics, inputs, **CONFIGS[0])
            begun = run(port, MAL, numerics, {**inputs, **fresh}, **CONFIGS[0])
            for name in (*STATE, "y"):
                assert_close(running[name], begun[name], unchanged(begun, name), f"{name} after a reset")
            assert_answers(running, CONFIGS[0])
            plain = run(port, MAL, numerics, unmarked(inputs), **CONFIGS[0])
            assert not np.allclose(plain["y"], running["y"]), "the marks are not read"


@pytest.mark.spec("MAL-5")
def test_rows_and_the_future_do_not_count(port: Port) -> None:
    for numerics in precisions(port):
        for given in CONFIGS:
            with where_declared():
                assert_rows_independent(port, MAL, numerics, unmarked(call(MAL, 6)), **given)
                assert_causal(port, MAL, numerics, call(MAL, 7), (3, 7), **given)


@pytest.mark.long
@pytest.mark.spec("MAL-6")
def test_the_gradients_are_those_of_the_block(port: Port) -> None:
    small = {"time": 6, "values": 2, "key": 2, "tokens": 1}
    for numerics in precisions(port):
        for number, given in enumerate(CONFIGS):
            with where_declared():
                assert_slopes(port, MAL, numerics, given, call(MAL, 8 + number, (5,), **small), apart=True)


@pytest.mark.spec("MAL-6")
def test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before(port: Port) -> None:
    inputs = call(MAL, 12, (5,), time=6)
    weight = {"y": generator(13).standard_normal(inputs["x"].shape)}
    for numerics in precisions(port):
        for given in CONFIGS:
            with where_declared():
                full = run_with_gradients(port, MAL, numerics, inputs, weight, **given)
                result = run_with_gradients(port, MAL, numerics, inputs, weight, **{**given, "inner_grad": "detached"})
                assert_close(
                    result["y"], full["y"], unchanged(full, "y"), "y with and without a gradient through the reads"
                )
                assert_answers(full, given)
                for name in (*FOR_THE_MEMORY, "norm"):
                    assert not result[f"grad.{name}"].any(), f"detached, and yet {name} has a gradient in {numerics}"
                    assert full[f"grad.{name}"].any(), f"{name} has no gradient in {numerics}"
                for name in OUTSIDE:
                    assert result[f"grad.{name}"].any(), f"detached, and so {name} has no gradient in {numerics}"

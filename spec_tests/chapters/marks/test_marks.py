"""docs/spec/marks.md: a context and a memory begin apart, and neither notices when the other does."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.chapters.marks.calls import config, marked, unmarked
from spec_tests.chapters.marks.oracle import whole
from spec_tests.contract.by_loops import assert_answers, assert_slopes
from spec_tests.contract.driver import Result, assert_close, precisions, run
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_any_split_agrees, assert_causal, assert_rows_independent, unchanged
from spec_tests.drawing.inputs import splits
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

MARKS = Op.MAG_BLOCK_MARKS
OF_CONTEXT = ("cache_keys", "cache_values", "tail", "context")
OF_MEMORY = ("carry", "weights", "momentum", "anchor", "window_keys", "window_values", "position")
CONFIGS = (config(), config(3, "frobenius_tanh"), config(1, "none"))
PLACE = 3


def fresh(inputs: Mapping[str, Array], *names: str) -> dict[str, Array]:
    """Return a call in which some parts of the state are those of a fresh start."""
    start = np.broadcast_to(inputs["initial"], inputs["weights"].shape)
    return {**inputs, **{name: start if name in ("weights", "anchor") else 0 * inputs[name] for name in names}}


def later(port: Port, numerics: Numerics, inputs: Mapping[str, Array], begun: tuple[str, ...]) -> tuple[Result, Result]:
    """Return the answers of a call whose row 0 begins something at PLACE, and of a call that starts there so."""
    mark = "reset_context" if begun == OF_CONTEXT else "reset_memory"
    given = unmarked(inputs)
    given[mark][:, PLACE] = 1
    over = [tensor.name for tensor in OPERATIONS[MARKS].inputs if "time" in tensor.axes]
    before = run(port, MARKS, numerics, {**given, **{name: given[name][:, :PLACE] for name in over}}, **config())
    state = {name: before[name] for name in (*OF_CONTEXT, *OF_MEMORY)}
    rest = {**unmarked(given), **state}
    rest |= {name: rest[name][:, PLACE:] for name in over}
    return run(port, MARKS, numerics, given, **config()), run(port, MARKS, numerics, fresh(rest, *begun), **config())


@pytest.mark.spec("MARK-1", "MARK-2", "MARK-3", "MARK-4")
def test_each_part_begins_at_its_own_marks_and_goes_on_at_those_of_the_other(port: Port) -> None:
    for numerics in precisions(port):
        for number, given in enumerate(CONFIGS):
            with where_declared():
                assert_answers(run(port, MARKS, numerics, marked(1 + number, span=5), **given), given)


@pytest.mark.spec("MARK-1", "MARK-3")
def test_a_mark_is_a_fresh_start_of_its_part(port: Port) -> None:
    for numerics in precisions(port):
        for begun in (OF_CONTEXT, OF_MEMORY):
            with where_declared():
                whole_call, alone = later(port, numerics, marked(4, span=5), begun)
                what = f"after a beginning in {numerics}"
                assert_close(whole_call["y"][:, PLACE:], alone["y"], unchanged(alone, "y"), f"y {what}")
                for name in (*OF_CONTEXT, *OF_MEMORY):
                    assert_close(whole_call[name], alone[name], unchanged(alone, name), f"{name} {what}")
                assert_answers(alone, config())


@pytest.mark.spec("MARK-5")
def test_both_marks_at_the_same_tokens_are_the_one_mark_of_a_block(port: Port) -> None:
    inputs = marked(5, span=5)
    both = {**inputs, "context": inputs["position"], "reset_context": inputs["reset_memory"]}
    plain = {name: value for name, value in inputs.items() if name not in ("context", "reset_context", "reset_memory")}
    for numerics in precisions(port):
        with where_declared():
            found = run(port, MARKS, numerics, both, **config())
            block = {**plain, "reset": inputs["reset_memory"]}
            expected = run(port, Op.MAG_BLOCK, numerics, block, **whole(config(), inputs))
            for name in expected.outputs:
                assert_close(found[name], expected[name], unchanged(found, name), f"{name} in {numerics}")
            assert np.array_equal(found["context"], expected["position"]), "context and memory are of the same age"
            assert_answers(found, config())


@pytest.mark.long
@pytest.mark.spec("MARK-6")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        for given in CONFIGS[:2]:
            with where_declared():
                assert_any_split_agrees(port, MARKS, numerics, marked(6, span=5), splits(9, 8), **given)


@pytest.mark.spec("MARK-6")
def test_places_that_a_context_or_a_memory_does_not_have_hold_zeros(port: Port) -> None:
    inputs = marked(7, span=7, time=7)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, MARKS, numerics, inputs, **config())
            assert_answers(result, config())
            # Row 0: a context of three tokens, a memory of one; row 1: of two, and of five.
            assert result["context"].tolist() == [3, 2]
            assert result["position"].tolist() == [1, 5]
            for name in ("cache_keys", "cache_values"):
                assert not result[name][0, :3].any(), f"{name} holds what the context does not have in {numerics}"
            assert not result["window_keys"][0, :1].any(), (
                f"the window holds what the memory has not seen in {numerics}"
            )


@pytest.mark.spec("MARK-7")
def test_rows_and_the_future_do_not_count(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, MARKS, numerics, unmarked(marked(8)), **config())
            assert_causal(port, MARKS, numerics, marked(9), (3, 7), **config())


@pytest.mark.long
@pytest.mark.spec("MARK-8")
def test_the_gradients_are_those_of_the_block(port: Port) -> None:
    for numerics in precisions(port):
        for number, given in enumerate(CONFIGS):
            with where_declared():
                inputs = marked(10 + number, time=8)
                assert_slopes(port, MARKS, numerics, given, inputs, apart=True, seed=number + 1)

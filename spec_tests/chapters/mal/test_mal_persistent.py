"""docs/spec/mal.md: persistent tokens that are written before every document, as a document of their own."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.mal.calls import call, config
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_any_split_agrees, unchanged
from spec_tests.drawing.inputs import generator, splits
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

MAL = Op.MAL_BLOCK
STATE = tuple(tensor.name for tensor in OPERATIONS[MAL].outputs if tensor.name != "y")
WRITTEN = config(persistent_in_memory=True)
TWO = config(persistent_in_memory=True, inner_residual=True, chunk=3)


@pytest.mark.long
@pytest.mark.spec("MAL-7")
def test_documents_begin_with_what_the_persistent_tokens_leave(port: Port) -> None:
    # A row that begins in the call and one that does not; rows that begin with the call; no persistent token, and five.
    for numerics in precisions(port):
        for number, given in enumerate((WRITTEN, TWO)):
            for tokens, position in ((2, (5, 10)), (5, (0, 3)), (0, (5, 0))):
                with where_declared():
                    assert_results(port, MAL, numerics, given, call(MAL, 21 + number, position, tokens=tokens))


def alone(port: Port, numerics: Numerics, inputs: Mapping[str, Array]) -> Array:
    """Return the memory after a document of the persistent tokens, as a port writes what is no persistent token.

    Their lengths are drawn equal, so a norm of that scale leaves them as they are.
    """
    size = np.sqrt((inputs["persistent"] ** 2).mean() + float(MODEL["norm_eps"]))
    empty = {name: 0 * inputs[name][:1] for name in STATE}
    tokens = {"x": inputs["persistent"][None], "norm": np.full_like(inputs["norm"], size)}
    marks = {"reset": np.zeros((1, len(inputs["persistent"])), np.int64)}
    return np.asarray(run(port, MAL, numerics, {**inputs, **empty, **tokens, **marks}, **config())["weights"][0])


def of_one_length(seed: int) -> dict[str, Array]:
    """Return a call whose persistent tokens are vectors of signs, which every precision holds exactly."""
    inputs = call(MAL, seed, (5, 0))
    return {**inputs, "persistent": generator(seed).choice([-1.0, 1.0], (3, len(inputs["norm"])))}


@pytest.mark.spec("MAL-7")
def test_a_document_is_that_of_another_first_memory_and_of_nothing_else(port: Port) -> None:
    inputs = of_one_length(23)
    for numerics in precisions(port):
        with where_declared():
            first = alone(port, numerics, inputs)
            found = run(port, MAL, numerics, inputs, **WRITTEN)
            wanted = run(port, MAL, numerics, {**inputs, "initial": first}, **config())
            for name in ("y", *STATE):
                assert_close(found[name], wanted[name], unchanged(found, name), f"{name} in {numerics}")
            plain = run(port, MAL, numerics, inputs, **config())
            assert not np.allclose(found["y"], plain["y"]), "persistent tokens are not written"


@pytest.mark.spec("MAL-3", "MAL-7")
def test_any_split_gives_the_same_results_where_persistent_tokens_are_written(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, MAL, numerics, call(MAL, 24, (0, 10)), splits(9, 8), **WRITTEN)


@pytest.mark.long
@pytest.mark.spec("MAL-7")
def test_first_memory_and_persistent_tokens_learn_through_what_is_written(port: Port) -> None:
    small = {"time": 6, "values": 2, "key": 2, "tokens": 3}
    for numerics in precisions(port):
        for number, given in enumerate((WRITTEN, TWO)):
            with where_declared():
                assert_slopes(port, MAL, numerics, given, call(MAL, 25 + number, (0,), **small), apart=True)


@pytest.mark.spec("MAL-6", "MAL-7")
def test_detached_persistent_tokens_learn_by_attention_alone(port: Port) -> None:
    inputs = of_one_length(27)
    weight = {"y": generator(28).standard_normal(inputs["x"].shape)}
    detached = {"inner_grad": "detached"}
    for numerics in precisions(port):
        with where_declared():
            first = alone(port, numerics, inputs)
            found = run_with_gradients(port, MAL, numerics, inputs, weight, **{**WRITTEN, **detached})
            given = {**config(), **detached}
            wanted = run_with_gradients(port, MAL, numerics, {**inputs, "initial": first}, weight, **given)
            assert not found["grad.initial"].any(), f"detached, and yet M_0 has a gradient in {numerics}"
            name = "grad.persistent"
            assert found[name].any(), f"persistent tokens learn nothing in {numerics}"
            assert_close(found[name], wanted[name], 4.0 * found.tolerance(name), f"{name} in {numerics}")

"""docs/spec/memory_hierarchical.md: a call longer than any block of a port's own loops, beside the loop."""

import numpy as np
import pytest

from spec_tests.chapters.memory_hierarchical.calls import case, settings
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared


def question(*position: int) -> dict[str, Array]:
    """Return a call of seventy tokens inside documents, a row for each of `position`; shards longer than a block."""
    lengths = {"batch": len(position), "time": 70, "heads": 1, "features": 3, "values": 2, "window": 2}
    inputs = case(settings("titans", step_scale="mass"), chunks=(32, 4), shards=(0, 68), seed=901, **lengths)
    # Seventy keys make a long query.
    return inputs | {"position": np.array(position), "reset": 0 * inputs["reset"], "queries": inputs["queries"] / 8.0}


@pytest.mark.spec("HIER-1", "HIER-8")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            # A position that leaves eight bits inside the call, and one that sixteen do not hold.
            config = settings("titans", step_scale="mass")
            assert_results(port, Op.MEMORY_HIERARCHICAL, numerics, config, question(200, 40_000))


@pytest.mark.spec("CALL-4", "HIER-8")
def test_a_window_longer_than_the_call_comes_back_as_it_went(port: Port) -> None:
    """Kills: a window that is kept in float32, which holds everything that other calls put in it."""
    config, rng = settings("omega"), generator(903)
    inputs = case(config, seed=903, time=1, window=4)
    inputs |= {name: rng.standard_normal(inputs[name].shape) for name in ("window_keys", "window_values")}
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, Op.MEMORY_HIERARCHICAL, numerics, config, inputs)


@pytest.mark.spec("HIER-7")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    config = settings("titans", step_scale="mass")
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, Op.MEMORY_HIERARCHICAL, numerics, config, question(5), apart=False)


@pytest.mark.spec("HIER-7")
def test_every_head_gets_its_own_gradient(port: Port) -> None:
    lengths = {"batch": 2, "time": 5, "heads": 2, "features": 3, "values": 2, "window": 2}
    config = settings("titans", step_scale="mass")
    inputs = case(config, chunks=(4, 2), shards=(0, 8), seed=902, **lengths)
    inputs |= {"position": np.array([5, 9]), "reset": 0 * inputs["reset"]}
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, Op.MEMORY_HIERARCHICAL, numerics, config, inputs, apart=True)

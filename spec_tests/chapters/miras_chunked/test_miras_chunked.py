"""docs/spec/miras_chunked.md: the parallel form against the loop and against the recurrence."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step.loop import STATE
from spec_tests.chapters.miras_scan.calls import assert_loop, case, points_in_turn, small_case
from spec_tests.chapters.miras_scan.grid import cells
from spec_tests.contract.by_loops import assert_along
from spec_tests.contract.driver import in_turn, run, run_with_gradients
from spec_tests.drawing.inputs import generator
from spec_tests.port import Numerics, Op, Port, Scalar
from spec_tests.tally import where_declared

CHUNKED: Final = Op.MIRAS_CHUNKED
EQUAL: Final = {Numerics.F64: 1e-10, Numerics.F32: 1e-3, Numerics.BF16_IO: 3e-2}


@pytest.mark.spec("RULE-20")
def test_the_parallel_form_is_the_loop_for_every_two_values(port: Port) -> None:
    for seed, config in enumerate(cells(CHUNKED)):
        with where_declared():
            inputs = case(config, time=6, seed=100 + seed, document=5)
            result = run(port, CHUNKED, in_turn(port, seed), inputs, **config)
            # Normalisations in and around the memory magnify what rounding leaves of a write.
            assert_loop(result, config, factor=10.0)


@pytest.mark.spec("RULE-21")
def test_gradients_of_the_parallel_form_are_those_of_the_recurrence(port: Port) -> None:
    for op, numerics, seed, config in points_in_turn(port):
        if op is CHUNKED:
            with where_declared():
                assert_gradients(port, numerics, config, seed)


def assert_gradients(port: Port, numerics: Numerics, config: dict[str, Scalar], seed: int) -> None:
    """Assert gradients of a call over a border of chunks and one of documents, by both forms and the loop."""
    inputs = small_case(config, seed, time=5, reset_at=3)
    rng = generator(seed + 40)
    shapes = {"reads": inputs["values"].shape, **{name: inputs[name].shape for name in STATE[:-1]}}
    cotangents = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    wanted = run_with_gradients(port, Op.MIRAS_SCAN, numerics, inputs, cotangents, **config)
    found = run_with_gradients(port, CHUNKED, numerics, inputs, cotangents, **config)
    derived = [name for name in wanted.outputs if name.startswith("grad.")]
    assert_along(found, config, cotangents, *(name.removeprefix("grad.") for name in derived))
    for name in derived:
        error = np.abs(found[name] - wanted[name]).max(initial=0.0)
        allowed = EQUAL[numerics] * (np.abs(wanted[name]).max(initial=0.0) + 1.0)
        what = f"{config['bias']} {config['link']} {name} in {numerics}"
        assert error <= allowed, f"{what}: apart by {error:.3g}, allowed {allowed:.3g}"

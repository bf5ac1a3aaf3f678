"""docs/spec/trm.md: calls longer and wider than any block of a port's own loops, and numbers of nothing."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.trm.calls import trm_inputs
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import FAR_AND_MANY, normal
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.TRM_RECURSION
LONG = np.arange(70)[None] + np.array([[65_500]])
SHORT = np.array([[0, 1, 2], [5, 6, 0], [0, 1, 2], [2, 3, 4], [7, 8, 9]])


def config(micro_steps: int, recursions: int, window: int, eps: float, unlearned: int = 0) -> dict[str, Scalar]:
    return {
        "micro_steps": micro_steps,
        "recursions": recursions,
        "no_grad_recursions": unlearned,
        "window": window,
        "norm_eps": eps,
    }


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a long row far from its start, one of many documents, rows of many heads or one, and a wide model."""
    yield config(1, 1, 69, 0.1), trm_inputs(1, LONG, (3, 1, 2, 4))
    yield config(1, 1, 4, 0.05), trm_inputs(2, FAR_AND_MANY, (2, 1, 1, 2))
    yield config(1, 1, 3, 0.2), trm_inputs(3, SHORT, (6, 5, 2, 3))
    yield config(1, 1, 2, 0.1), trm_inputs(4, SHORT[:3], (3, 1, 3, 7))
    yield config(1, 1, 2, 0.1), trm_inputs(8, SHORT[:1], (18, 1, 2, 3))


@pytest.mark.spec("TRM-1", "TRM-4")
def test_calls_of_every_size_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for settings, inputs in questions():
            with where_declared():
                assert_results(port, OP, numerics, settings, inputs, factor=8.0)


@pytest.mark.spec("TRM-1", "TRM-2", "TRM-3")
def test_no_refinement_no_recursion_and_no_cushion_are_numbers_too(port: Port) -> None:
    for numerics in precisions(port):
        for settings in (config(0, 2, 3, 0.1), config(2, 0, 3, 0.1), config(1, 1, 3, 0.0)):
            with where_declared():
                assert_results(port, OP, numerics, settings, trm_inputs(5, SHORT[:2]), factor=8.0)


@pytest.mark.spec("TRM-5")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            given = representable(OP, trm_inputs(6, LONG, (3, 1, 2, 4)))
            assert_slopes(port, OP, numerics, config(1, 1, 3, 0.1), given, apart=True)


@pytest.mark.spec("TRM-5")
def test_as_many_recursions_are_unlearned_as_the_configuration_says(port: Port) -> None:
    for numerics in precisions(port):
        for unlearned in (1, 2):
            with where_declared():
                given = representable(OP, trm_inputs(9, SHORT[:2], (3, 1, 2, 4)))
                assert_slopes(port, OP, numerics, config(1, 3, 3, 0.1, unlearned), given, apart=False)


@pytest.mark.spec("TRM-7")
def test_many_rows_have_each_their_own_loss(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            given = {"losses": normal(7, 6, 3) ** 2 + 1.0, "weights": np.array([0.5, 0.0, 1.5])}
            assert_results(port, Op.SUPERVISED_LOSS, numerics, {}, given)
            assert_slopes(port, Op.SUPERVISED_LOSS, numerics, {}, given, apart=True)

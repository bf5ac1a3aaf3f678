"""docs/spec/trm.md, against loops: what is refined from what, what a token sees, and what is learned through."""

import numpy as np
import pytest

from spec_tests.chapters.trm.calls import trm_inputs
from spec_tests.chapters.trm.oracle import row_of
from spec_tests.contract.driver import assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.properties import assert_gradients, assert_rows_independent, representable
from spec_tests.drawing.inputs import normal
from spec_tests.oracle import complex_step
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

TRM = Op.TRM_RECURSION
POSITION = np.array([[0, 1, 0, 1, 2], [4, 5, 6, 7, 8]])
ROUGH = 4.0
"""Of the tolerance: two recursions of a network are deeper than any other operation of their level."""


def config(micro_steps: int, recursions: int, without: int = 0, window: int = 3) -> dict[str, Scalar]:
    return {
        "micro_steps": micro_steps,
        "recursions": recursions,
        "no_grad_recursions": without,
        "window": window,
        "norm_eps": 0.3,
    }


def looped(settings: dict[str, Scalar], inputs: dict[str, Array]) -> dict[str, Array]:
    """Return what the loops answer."""
    rows = [row_of(settings, inputs, row, FORWARD) for row in range(len(inputs["x"]))]
    return {"answer": np.array([y for y, _ in rows]), "latent": np.array([z for _, z in rows])}


@pytest.mark.spec("TRM-1", "TRM-2", "TRM-3")
def test_latent_and_answer_are_refined_as_written(port: Port) -> None:
    for numerics in precisions(port):
        for micro_steps, recursions in ((1, 1), (2, 1), (1, 3), (3, 2)):
            with where_declared():
                settings = config(micro_steps, recursions)
                result = run(port, TRM, numerics, trm_inputs(1, POSITION), **settings)
                for name, expected in looped(settings, dict(result.inputs)).items():
                    result.assert_close(name, expected, factor=ROUGH)


@pytest.mark.spec("TRM-4")
def test_a_token_sees_its_window_of_its_document_and_nothing_later(port: Port) -> None:
    for numerics in precisions(port):
        for window in (1, 2, 9):
            with where_declared():
                settings = config(1, 1, window=window)
                given = trm_inputs(2, POSITION)
                result = run(port, TRM, numerics, given, **settings)
                result.assert_close("answer", looped(settings, dict(result.inputs))["answer"], factor=ROUGH)
                later = {name: given[name].copy() for name in ("x", "y", "z")}
                for value in later.values():
                    value[:, 3:] += 1.0
                after = run(port, TRM, numerics, {**given, **later}, **settings)
                for name in ("answer", "latent"):
                    what = f"{name} before a change at token 3"
                    assert_close(after[name][:, :3], result[name][:, :3], result.tolerance(name), what)


@pytest.mark.spec("TRM-5")
def test_gradients_flow_through_every_recursion_but_the_first_ones(port: Port) -> None:
    inputs = representable(TRM, trm_inputs(3, POSITION[:1, :3]))
    weights = {"answer": normal(40, 1, 3, 4), "latent": normal(41, 1, 3, 4)}
    for recursions, without in ((2, 1), (2, 0), (1, 0)):
        settings = config(2, recursions, without)
        expected = slopes(settings, inputs, weights)
        nothing = [name for name in expected if not expected[name].any()]
        assert nothing == (["y", "z"] if without else [])
        # Asked only where one is to be zero: a question put twice lets a port pass that answers the one before.
        for numerics in precisions(port) if nothing else ():
            with where_declared():
                result = run_with_gradients(port, TRM, numerics, inputs, weights, **settings)
                for name in nothing:
                    assert_same(result[f"grad.{name}"], expected[name], f"gradient of {name}")
        learned = {name: gradient for name, gradient in expected.items() if name not in nothing}
        assert_gradients(port, TRM, inputs, weights, learned, **settings)


def slopes(settings: dict[str, Scalar], inputs: dict[str, Array], weights: dict[str, Array]) -> dict[str, Array]:
    """Return the gradients of x, y, z and two of the matrices, by complex steps through the loops."""
    found = {name: np.zeros_like(inputs[name]) for name in ("x", "y", "z", "query", "down")}
    for name, gradient in found.items():
        for place in np.ndindex(gradient.shape):
            entry = np.zeros_like(gradient)
            entry[place] = 1.0
            gradient[place] = complex_step.along(lambda x: looped(settings, dict(x)), inputs, {name: entry}, weights)
    return found


@pytest.mark.spec("TRM-6")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = trm_inputs(4, np.concatenate([POSITION, POSITION[:1]]))
            assert_rows_independent(port, TRM, numerics, inputs, **config(1, 2))

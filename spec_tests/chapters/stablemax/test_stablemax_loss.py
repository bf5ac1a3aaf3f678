"""docs/spec/stablemax.md: logarithms of probabilities and the loss of labels, against loops and closed forms."""

import numpy as np
import pytest

from spec_tests.chapters.stablemax.oracle import log_stablemax, loss_of_row
from spec_tests.contract.driver import assert_close, assert_same, precisions, run
from spec_tests.contract.properties import assert_gradients, representable, unchanged
from spec_tests.drawing.inputs import central_difference, generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

LOSS = Op.STABLEMAX_LOSS
IGNORED = -100
LABELS = np.array([[2, IGNORED, 0], [1, 1, 3], [IGNORED, IGNORED, IGNORED]])


def logits(seed: int) -> Array:
    """Return logits of both signs, [3, 3, 4]."""
    return 3.0 * generator(seed).standard_normal((3, 3, 4))


def losses(values: Array, labels: Array) -> Array:
    """Return the loss of every row by the loops."""
    logs = np.array([[log_stablemax(vector) for vector in row] for row in values])
    return np.array([loss_of_row(*pair) for pair in zip(logs, labels, strict=True)])


@pytest.mark.spec("STAB-6")
def test_logarithms_are_those_of_the_two_branches(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LOSS, numerics, {"logits": logits(3), "labels": LABELS})
            given = result.inputs["logits"]
            s = np.where(given >= 0, given + 1.0, 1.0 / (1.0 - np.minimum(given, 0.0)))
            result.assert_close("log_probabilities", np.log(s) - np.log(s.sum(-1, keepdims=True)))


@pytest.mark.spec("STAB-6")
def test_a_logit_of_minus_1e30_has_a_finite_logarithm(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LOSS, numerics, {"logits": np.array([[[0.0, -1e30]]]), "labels": np.array([[1]])})
            size = -float(result.inputs["logits"][0, 0, 1])
            assert_close(result["losses"], np.array([np.log(size)]), 1e-6, "loss of a logit of -1e30")


@pytest.mark.spec("STAB-6")
def test_an_almost_certain_label_keeps_the_digits_of_its_loss(port: Port) -> None:
    for numerics in precisions(port):
        for size in (1e6, 1e9):
            with where_declared():
                given = {"logits": np.array([[[size, 0.0, 0.5]]]), "labels": np.array([[0]])}
                result = run(port, LOSS, numerics, given)
                share = 2.5 / (1.0 + result.inputs["logits"][0, 0, 0])
                assert_close(result["losses"], np.array([np.log1p(share)]), 1e-5, f"loss of a logit of {size:g}")


@pytest.mark.spec("STAB-6", "STAB-7")
def test_the_gradient_is_that_of_the_loss_at_zero_and_one_too(port: Port) -> None:
    inputs = {**representable(LOSS, {"logits": logits(4)}), "labels": LABELS}
    weight = np.array([1.0, -0.5, 2.0])
    slope = central_difference(lambda x: float(losses(x, LABELS) @ weight), inputs["logits"])
    assert_gradients(port, LOSS, inputs, {"losses": weight}, {"logits": slope})
    # s = (1, 2, 1/2), s' = (1, 1, 1/4): d log p_0 / d x_j = delta_0j s'_0 / s_0 - s'_j / sum s.
    expected = -np.array([[[1 - 1 / 3.5, -1 / 3.5, -0.25 / 3.5]]])
    edges = {"logits": np.array([[[0.0, 1.0, -1.0]]]), "labels": np.array([[0]])}
    assert_gradients(port, LOSS, edges, {"losses": np.ones(1)}, {"logits": expected})


@pytest.mark.spec("STAB-7")
def test_the_loss_of_a_row_is_the_mean_over_its_own_labels(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LOSS, numerics, {"logits": logits(5), "labels": LABELS})
            expected = losses(result.inputs["logits"], LABELS)
            for row in range(2):
                assert_close(result["losses"][[row]], expected[[row]], result.tolerance("losses"), f"loss of row {row}")


@pytest.mark.spec("STAB-7")
def test_ignored_places_may_hold_any_logits(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LOSS, numerics, {"logits": logits(6), "labels": LABELS})
            before = result["losses"]
            result.assert_close("losses", losses(result.inputs["logits"], LABELS))
            changed = np.where((LABELS == IGNORED)[..., None], 7.0 * logits(7), logits(6))
            after = run(port, LOSS, numerics, {"logits": changed, "labels": LABELS})["losses"]
            assert_close(after, before, unchanged(result, "losses"), "losses after a change at ignored places")


@pytest.mark.spec("STAB-7")
def test_a_row_without_labels_has_the_loss_zero(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LOSS, numerics, {"logits": logits(8), "labels": LABELS})
            assert_same(result["losses"][2:], np.zeros(1), "loss of a row without labels")
            result.assert_close("losses", losses(result.inputs["logits"], LABELS))

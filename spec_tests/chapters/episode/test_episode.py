"""docs/spec/episode.md, against a walk over places and a loop over rows."""

import numpy as np
import pytest

from spec_tests.chapters.episode.calls import MASK, pieces, scored
from spec_tests.chapters.episode.oracle import losses, rows, weights
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import assert_gradients, representable
from spec_tests.drawing.inputs import central_difference, generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

WEIGHTS = {"storage": 0.75, "retrieval": 10.0}
SHAPES = ((2, 2, 9), (1, 3, 12), (6, 1, 5))


@pytest.mark.spec("EPI-1", "EPI-2", "EPI-3", "EPI-4", "EPI-5", "EPI-6")
def test_both_phases_are_those_of_a_walk_over_the_places(port: Port) -> None:
    for numerics in precisions(port):
        for seed, shape in enumerate(SHAPES):
            with where_declared():
                # Whether a token is the mask's is nowhere asked of it: 0 is one of the text too.
                mask = 0 if shape[0] == 1 else MASK
                found = run(port, Op.EPISODE_ROWS, numerics, pieces(2460 + seed, *shape), mask=mask)
                for name, wanted in rows(dict(found.inputs), mask).items():
                    assert np.array_equal(found[name], wanted), f"{name} of {shape}: {found[name]} and not {wanted}"


@pytest.mark.spec("EPI-6")
def test_rows_stand_alone(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs, others = pieces(2470, 3), pieces(2471, 3)
            whole = run(port, Op.EPISODE_ROWS, numerics, inputs, mask=MASK)
            among = {name: np.concatenate([others[name][:2], inputs[name][2:]]) for name in inputs}
            other = run(port, Op.EPISODE_ROWS, numerics, among, mask=MASK)
            for name in ("tokens", "targets", "answer", "context", "memory"):
                assert np.array_equal(other[name][2], whole[name][2]), f"{name} of a row among other rows"
            assert not np.array_equal(other["targets"][1], whole["targets"][1])


@pytest.mark.spec("EPI-7")
def test_the_loss_is_the_weighted_sum_of_the_means_of_both_phases(port: Port) -> None:
    """Where one phase has no target its mean is zero; where none has one, so is the loss."""
    for numerics in precisions(port):
        for kept in ("both", "storage", "retrieval", "nothing"):
            with where_declared():
                inputs = scored(2480)
                left_out = {"both": -1, "storage": 1, "retrieval": 0}.get(kept)
                if left_out is None or left_out >= 0:
                    gone = (
                        np.ones_like(inputs["targets"], bool) if left_out is None else inputs["retrieved"] == left_out
                    )
                    inputs["targets"] = np.where(gone, -100, inputs["targets"])
                found = run(port, Op.EPISODE_LOSS, numerics, inputs, **WEIGHTS)
                weight = weights(inputs["targets"], inputs["retrieved"], *WEIGHTS.values())
                found.assert_close("weights", weight)
                found.assert_close("losses", losses(found.inputs["logits"], inputs["targets"], weight))
                means = _means(found.inputs["logits"], inputs)
                assert_close(found["losses"].sum(), np.asarray(means), 1e-4, f"{kept} in {numerics}")


def _means(logits: Array, inputs: dict[str, Array]) -> float:
    """Return the loss as it is defined, from probabilities."""
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(-1, keepdims=True)
    total = 0.0
    for phase, weight in enumerate(WEIGHTS.values()):
        places = np.argwhere((inputs["targets"] != -100) & (inputs["retrieved"] == phase))
        if len(places):
            total += weight * float(np.mean([-np.log(shares[b, t, inputs["targets"][b, t]]) for b, t in places]))
    return total


@pytest.mark.spec("EPI-7")
def test_a_phase_of_no_weight_is_not_learned(port: Port) -> None:
    for numerics in precisions(port):
        for storage, retrieval in ((0.0, 2.0), (2.0, 0.0)):
            with where_declared():
                inputs = scored(2485, 20)
                found = run(port, Op.EPISODE_LOSS, numerics, inputs, storage=storage, retrieval=retrieval)
                weight = weights(inputs["targets"], inputs["retrieved"], storage, retrieval)
                found.assert_close("weights", weight)
                found.assert_close("losses", losses(found.inputs["logits"], inputs["targets"], weight))


@pytest.mark.spec("EPI-8")
def test_the_logarithm_is_taken_in_single_precision(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = scored(2490)
            found = run(port, Op.EPISODE_LOSS, numerics, inputs, **WEIGHTS)
            weight = weights(inputs["targets"], inputs["retrieved"], *WEIGHTS.values())
            expected = losses(found.inputs["logits"], inputs["targets"], weight)
            assert_close(found["losses"], expected, 1e-5, f"losses in {numerics}")


@pytest.mark.spec("EPI-9")
def test_the_gradient_is_that_of_the_formula(port: Port) -> None:
    inputs = representable(Op.EPISODE_LOSS, scored(2500))
    cotangent = generator(2501).standard_normal(3)
    weight = weights(inputs["targets"], inputs["retrieved"], *WEIGHTS.values())

    def loss(logits: Array) -> float:
        return float((losses(logits, inputs["targets"], weight) * cotangent).sum())

    expected = {"logits": central_difference(loss, inputs["logits"])}
    assert_gradients(port, Op.EPISODE_LOSS, inputs, {"losses": cotangent}, expected, **WEIGHTS)

"""docs/spec/optimisers.md, against numpy and closed forms."""

import numpy as np
import pytest

from spec_tests.chapters.optimisers.oracle import clip_factor, largest_logits, low_pass, muon, perpendicular
from spec_tests.contract.driver import assert_close, assert_same, precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

MUON: dict[str, Scalar] = {
    "learning_rate": 0.03,
    "momentum": 0.9,
    "weight_decay": 0.1,
    "coefficients": "quintic",
    "newton_schulz_steps": 4,
    "start": "add",
}


def matrices(shape: tuple[int, int], seed: int, *names: str) -> dict[str, Array]:
    rng = generator(seed)
    return {name: rng.standard_normal(shape) for name in names}


@pytest.mark.spec("OPT-1")
def test_muon_averages_then_orthogonalises_then_scales(port: Port) -> None:
    for numerics in precisions(port):
        for shape in ((6, 3), (3, 5), (4, 4)):
            with where_declared():
                result = run(port, Op.MUON_STEP, numerics, matrices(shape, 1, "weight", "buffer", "gradient"), **MUON)
                x = result.inputs
                weight, buffer = muon(x["weight"], x["buffer"], x["gradient"], MUON)
                result.assert_close("buffer", buffer)
                result.assert_close("weight", weight)
                # The step is a thirtieth of the weight: compared by itself, its own error shows.
                step = weight - result.inputs["weight"]
                allowed = 100 * result.tolerance("weight")
                assert_close(result["weight"] - result.inputs["weight"], step, allowed, f"step of Muon in {numerics}")


@pytest.mark.spec("OPT-2")
def test_the_size_of_the_gradient_does_not_matter_to_muon(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = matrices((4, 6), 2, "weight", "gradient") | {"buffer": np.zeros((4, 6))}
            once = run(port, Op.MUON_STEP, numerics, inputs, **MUON)
            x = once.inputs
            once.assert_close("weight", muon(x["weight"], x["buffer"], x["gradient"], MUON)[0])
            tenfold = run(port, Op.MUON_STEP, numerics, {**inputs, "gradient": 10.0 * inputs["gradient"]}, **MUON)
            assert_close(tenfold["weight"], once["weight"], 1e-5, "weight after a tenfold gradient")


@pytest.mark.spec("OPT-3")
def test_grokfast_adds_the_slow_part(port: Port) -> None:
    gradients = generator(3).standard_normal((9, 4))
    for numerics in precisions(port):
        for alpha, strength in ((0.98, 2.0), (0.5, 0.3)):
            with where_declared():
                result = run(port, Op.GROKFAST, numerics, {"gradients": gradients}, alpha=alpha, strength=strength)
                averages, filtered = low_pass(result.inputs["gradients"], alpha, strength)
                result.assert_close("averages", averages)
                result.assert_close("filtered", filtered)


@pytest.mark.spec("OPT-4")
def test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly(port: Port) -> None:
    constant = np.broadcast_to(generator(4).standard_normal(3), (50, 3)).copy()
    alternating = constant * (-1.0) ** np.arange(50)[:, None]
    for numerics in precisions(port):
        with where_declared():
            slow = run(port, Op.GROKFAST, numerics, {"gradients": constant}, alpha=0.9, strength=2.0)
            slow.assert_close("filtered", 3.0 * slow.inputs["gradients"])
            fast = run(port, Op.GROKFAST, numerics, {"gradients": alternating}, alpha=0.9, strength=2.0)
            gain = np.abs(fast["filtered"][-1] / fast.inputs["gradients"][-1])
            assert (gain < 1.2).all(), f"an alternating gradient is amplified {gain.max():.2f} times"


@pytest.mark.spec("OPT-5")
def test_perp_grad_is_orthogonal_to_the_weight(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = matrices((4, 3), 5, "weight", "gradient")
            result = run(port, Op.PERP_GRAD, numerics, inputs, rescale=False)
            result.assert_close("filtered", perpendicular(result.inputs["weight"], result.inputs["gradient"], False))
            along = float((result["filtered"] * result.inputs["weight"]).sum())
            assert abs(along) < 1e-5, f"{along} along the weight"
            still = run(port, Op.PERP_GRAD, numerics, {**inputs, "weight": 0.0 * inputs["weight"]}, rescale=False)
            assert_same(still["filtered"], still.inputs["gradient"], "gradient of a zero weight")


@pytest.mark.spec("OPT-6")
def test_rescaled_perp_grad_keeps_the_length(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, Op.PERP_GRAD, numerics, matrices((4, 3), 6, "weight", "gradient"), rescale=True)
            result.assert_close("filtered", perpendicular(result.inputs["weight"], result.inputs["gradient"], True))
            length, kept = np.linalg.norm(result["filtered"]), np.linalg.norm(result.inputs["gradient"])
            assert abs(length / kept - 1.0) < 1e-5, f"length {length}, expected {kept}"


def attention(seed: int) -> dict[str, Array]:
    """Return inputs x [2, 7, 5] seen by three heads of 4; the heads differ in how large their logits are.

    The last token has the longest key and a short query, so that the largest product of all is one with the future.
    """
    rng = generator(seed)
    x = rng.standard_normal((2, 7, 5)) * np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.5])[:, None]
    size = np.array([1.5, 1.0, 0.2])[:, None, None]
    query_weight, key_weight = (size * rng.standard_normal((3, 4, 5)) for _ in range(2))
    queries, keys = (np.einsum("bti,hdi->bthd", x, weight) for weight in (query_weight, key_weight))
    queries[:, -1] *= 0.1
    return {"queries": queries, "keys": keys, "query_weight": query_weight, "key_weight": key_weight}


@pytest.mark.spec("OPT-7")
def test_qk_clip_scales_both_projections_of_heads_above_the_threshold(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, Op.QK_CLIP, numerics, attention(9), threshold=2.0)
            maximum = largest_logits(result.inputs["queries"], result.inputs["keys"])
            result.assert_close("maximum", maximum)
            factor = clip_factor(maximum, 2.0)[:, None, None]
            for name in ("query_weight", "key_weight"):
                result.assert_close(name, factor * result.inputs[name])


@pytest.mark.spec("OPT-8")
def test_the_largest_logit_of_a_clipped_head_becomes_the_threshold(port: Port) -> None:
    inputs = attention(11)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, Op.QK_CLIP, numerics, inputs, threshold=2.0)
            clipped = result["maximum"] > 2.0
            assert 0 < clipped.sum() < len(clipped), "the case has no head on one side of the threshold"
            share = result["query_weight"] / result.inputs["query_weight"] * result["key_weight"]
            scale = (share / result.inputs["key_weight"]).mean((1, 2))
            after = scale * result["maximum"]
            assert_close(after[clipped], np.full(int(clipped.sum()), 2.0), 1e-5, "largest logit after clipping")
            for name in ("query_weight", "key_weight"):
                assert_same(
                    result[name][~clipped], result.inputs[name][~clipped], f"{name} of heads below the threshold"
                )

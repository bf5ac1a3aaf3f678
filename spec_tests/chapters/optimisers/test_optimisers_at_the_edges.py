"""Outer optimisers where a threshold or a division is near: short weights, negative and small logits."""

import numpy as np
import pytest

from spec_tests.chapters.optimisers.oracle import clip_factor, largest_logits, perpendicular
from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import precisions, run
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared


@pytest.mark.spec("OPT-5")
def test_a_short_weight_is_projected_out_like_a_long_one(port: Port) -> None:
    rng = generator(21)
    weight, gradient = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    for numerics in precisions(port):
        for length in (1e-4, 1e-6, 1e-9):
            with where_declared():
                result = run(
                    port, Op.PERP_GRAD, numerics, {"weight": length * weight, "gradient": gradient}, rescale=False
                )
                result.assert_close(
                    "filtered", perpendicular(result.inputs["weight"], result.inputs["gradient"], False)
                )


@pytest.mark.spec("OPT-7")
def test_heads_of_negative_and_of_small_logits_are_clipped_by_the_rule(port: Port) -> None:
    rng = generator(22)
    # Logits of about -6, of a hundredth and of four: heads at rest, just above the threshold and far above it.
    size = np.array([[-3.0, 1.0], [0.1, 0.1], [2.0, 2.0]])
    # The second row has the largest logits of all heads.
    rows = np.array([1.0, 1.2])[:, None, None, None]
    keys, queries = (size[:, i, None] * rows * rng.uniform(0.7, 1.3, (2, 5, 3, 4)) for i in range(2))
    keys[:, :, 0] /= rows[..., 0] ** 2
    weights = {name: rng.standard_normal((3, 4, 5)) for name in ("query_weight", "key_weight")}
    inputs = representable(Op.QK_CLIP, {"queries": queries, "keys": keys, **weights})
    for numerics in precisions(port):
        for threshold in (2.0, 0.005):
            with where_declared():
                result = run(port, Op.QK_CLIP, numerics, inputs, threshold=threshold)
                maximum = largest_logits(result.inputs["queries"], result.inputs["keys"])
                assert maximum[0] < -threshold, "the first head has no negative maximum"
                result.assert_close("maximum", maximum)
                factor = clip_factor(maximum, threshold)[:, None, None]
                for name in weights:
                    for head in range(3):
                        what = factor[head] * result.inputs[name][head]
                        assert np.abs(result[name][head] - what).max() <= 4e-6 * np.abs(what).max(), (
                            f"{name} of head {head}"
                        )


@pytest.mark.spec("OPT-3", "OPT-4")
def test_every_entry_of_many_is_filtered(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = {"gradients": generator(41).standard_normal((4, 18))}
            assert_results(port, Op.GROKFAST, numerics, {"alpha": 0.7, "strength": 1.5}, inputs)


@pytest.mark.spec("OPT-5", "OPT-6")
def test_a_square_weight_is_projected_as_it_lies(port: Port) -> None:
    inputs = {name: generator(42 + i).standard_normal((3, 3)) for i, name in enumerate(("weight", "gradient"))}
    for numerics in precisions(port):
        for rescale in (False, True):
            with where_declared():
                assert_results(port, Op.PERP_GRAD, numerics, {"rescale": rescale}, inputs)


@pytest.mark.spec("OPT-7")
def test_one_wide_head_is_clipped_by_the_largest_logit_of_any_row(port: Port) -> None:
    rng = generator(44)
    # The largest logit is that of the last row.
    tokens = {
        name: rng.uniform(0.2, 0.4, (3, 2, 1, 18)) * np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1)
        for name in ("queries", "keys")
    }
    weights = {name: rng.standard_normal((1, 18, 18)) for name in ("query_weight", "key_weight")}
    for numerics in precisions(port):
        with where_declared():
            config = {"threshold": 0.5, "causal": True}
            assert_results(port, Op.QK_CLIP, numerics, config, {**tokens, **weights})

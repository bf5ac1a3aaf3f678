"""docs/spec/optimisers.md: the start of Newton-Schulz in Muon, and what QK-clip sees, as the configuration says."""

import numpy as np
import pytest

from spec_tests.chapters.optimisers.oracle import clip_factor, muon
from spec_tests.contract.driver import precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Op, Port, Scalar
from spec_tests.tally import where_declared


@pytest.mark.spec("OPT-1")
def test_muon_starts_its_iteration_as_the_configuration_says(port: Port) -> None:
    rng = generator(31)
    inputs = {"weight": rng.standard_normal((3, 4)), "gradient": 1e-8 * rng.standard_normal((3, 4))}
    for numerics in precisions(port):
        for start in ("add", "clamp"):
            with where_declared():
                config: dict[str, Scalar] = {
                    "learning_rate": 0.5,
                    "momentum": 0.9,
                    "weight_decay": 0.0,
                    "coefficients": "quintic",
                    "newton_schulz_steps": 2,
                    "start": start,
                }
                result = run(port, Op.MUON_STEP, numerics, {**inputs, "buffer": np.zeros((3, 4))}, **config)
                x = result.inputs
                weight, _ = muon(x["weight"], x["buffer"], x["gradient"], config)
                result.assert_close("weight", weight)


@pytest.mark.spec("OPT-7")
def test_qk_clip_sees_later_keys_where_it_is_not_causal_and_only_there(port: Port) -> None:
    rng = generator(32)
    queries, keys = rng.uniform(0.2, 0.4, (2, 2, 3, 2, 4))
    # Of the second row the last key is the longest and the first query too: their product is no causal logit.
    keys[1, 2], queries[1, 0] = 4.0, 2.0
    weights = {name: rng.standard_normal((2, 4, 5)) for name in ("query_weight", "key_weight")}
    for numerics in precisions(port):
        for causal in (True, False):
            with where_declared():
                inputs = {"queries": queries, "keys": keys, **weights}
                result = run(port, Op.QK_CLIP, numerics, inputs, threshold=0.5, causal=causal)
                logits = np.einsum("bthd,bihd->hbti", result.inputs["queries"], result.inputs["keys"]) / 2.0
                seen = np.tri(3, dtype=bool) if causal else np.ones((3, 3), dtype=bool)
                maximum = np.where(seen, logits, -np.inf).reshape(2, -1).max(1)
                result.assert_close("maximum", maximum)
                for name, weight in weights.items():
                    result.assert_close(name, clip_factor(maximum, 0.5)[:, None, None] * weight)

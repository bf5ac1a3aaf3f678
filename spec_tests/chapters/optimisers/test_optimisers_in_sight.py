"""docs/spec/optimisers.md: QK-clip over the pairs that attention lets a query see, against a list of them."""

import numpy as np
import pytest

from spec_tests.chapters.optimisers.oracle import clip_factor, largest_in_sight
from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import precisions, run
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

CLIP = Op.QK_CLIP_IN_SIGHT
POSITION = np.array([[7, 8, 0, 1, 2], [1, 2, 3, 4, 5]])
THRESHOLD = 1.5


def sized(place: str, seed: int) -> dict[str, Array]:
    """Return a call of a window of three tokens whose largest logits lie in one place of all that can be looked at."""
    rng = generator(seed)
    inputs = {
        "queries": 1.0 + 0.1 * rng.standard_normal((2, 5, 2, 4)),
        "keys": 1.0 + 0.1 * rng.standard_normal((2, 5, 2, 4)),
        "persistent_keys": 1.0 + 0.1 * rng.standard_normal((2, 2, 4)),
        "cache_keys": 1.0 + 0.1 * rng.standard_normal((2, 2, 2, 4)),
        "position": POSITION,
        "query_weight": rng.standard_normal((2, 4, 3)),
        "key_weight": rng.standard_normal((2, 4, 3)),
    }
    if place == "of another document, in the window":
        inputs["keys"][0, 1] *= 9.0
        inputs["queries"][0, :2] *= 0.1
    elif place == "of the document, beyond the window":
        inputs["keys"][1, 0] *= 9.0
        inputs["queries"][1, :3] *= 0.1
    elif place == "persistent":
        inputs["persistent_keys"][1, 1] *= 9.0
    elif place == "before the call":
        inputs["cache_keys"][1, 1, 1] *= 9.0
    elif place == "before the call, of another document":
        inputs["cache_keys"][1, 0, 0] *= 9.0
    return inputs


PLACES = (
    "anywhere",
    "of another document, in the window",
    "of the document, beyond the window",
    "persistent",
    "before the call",
    "before the call, of another document",
)


@pytest.mark.spec("OPT-10")
def test_qk_clip_looks_at_every_pair_in_sight_and_at_no_other(port: Port) -> None:
    for numerics in precisions(port):
        for number, place in enumerate(PLACES):
            with where_declared():
                inputs = representable(CLIP, sized(place, 41 + number))
                result = run(port, CLIP, numerics, inputs, threshold=THRESHOLD, window=3)
                maximum = largest_in_sight(inputs, 3)
                result.assert_close("maximum", maximum)
                for name in ("query_weight", "key_weight"):
                    result.assert_close(name, clip_factor(maximum, THRESHOLD)[:, None, None] * inputs[name])


@pytest.mark.spec("OPT-10")
def test_keys_that_nobody_sees_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for garbage in (np.inf, np.nan):
            with where_declared():
                inputs = representable(CLIP, sized("anywhere", 51))
                inputs["position"] = POSITION * 0 + np.arange(5)
                inputs["cache_keys"] = np.full((2, 2, 2, 4), garbage)
                result = run(port, CLIP, numerics, inputs, threshold=THRESHOLD, window=3)
                result.assert_close("maximum", largest_in_sight(inputs, 3))


def far(name: str, token: int) -> dict[str, Array]:
    """Return one head whose largest logit is that of the last row: of its last query and of this key."""
    rng = generator(71)
    drawn = {"queries": 30, "keys": 30, "cache_keys": 74}
    inputs = {which: rng.uniform(0.2, 0.4, (2, time, 1, 4)) for which, time in drawn.items()}
    inputs["queries"][:, -1], inputs[name][:, token] = 2.0, np.array([3.0, 4.0]).reshape(2, 1, 1)
    weights = {which: rng.standard_normal((1, 4, 3)) for which in ("query_weight", "key_weight")}
    # Positions that leave eight bits, and sixteen, inside the call.
    position = np.array([[110], [32_750]]) + np.arange(30)
    return {**inputs, **weights, "persistent_keys": np.zeros((0, 1, 4)), "position": position}


@pytest.mark.spec("OPT-10")
def test_a_key_of_any_row_counts_seventy_tokens_later_and_at_any_position(port: Port) -> None:
    for numerics in precisions(port):
        for name, token in (("cache_keys", 33), ("keys", 0)):
            with where_declared():
                assert_results(port, CLIP, numerics, {"threshold": 0.5, "window": 75}, far(name, token))

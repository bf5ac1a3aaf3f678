"""QK-clip that looks at pairs which no query sees, or misses some that one does."""

from typing import Final

import numpy as np

from spec_tests.chapters.optimisers.oracle import clip_factor, largest_in_sight
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_outputs
from spec_tests.port import Array, Op

SIGHT: Final = "source: the largest logit is looked for among pairs that no query sees, or not among all"


def clipped(config: Config, x: Arrays, maximum: Array) -> Arrays:
    """Return what follows from a maximum."""
    factor = clip_factor(maximum, float(config["threshold"]))[:, None, None]
    return {"maximum": maximum, **{name: factor * x[name] for name in ("query_weight", "key_weight")}}


def _beyond_the_window(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Look at all keys of the call up to the query that are of its document."""
    window, time = int(config["window"]), x["queries"].shape[1]
    longer = np.zeros((*x["cache_keys"].shape[:1], time, *x["cache_keys"].shape[2:]))
    longer[:, time - min(time, window - 1) :] = x["cache_keys"][:, max(0, window - 1 - time) :]
    seen = np.minimum(x["position"], np.arange(time) + window - 1)
    return clipped(config, x, largest_in_sight({**x, "cache_keys": longer, "position": seen}, time + 1))


def _beyond_the_document(config: Config, x: Arrays, _: Arrays) -> Arrays:
    far = np.full_like(x["position"], int(config["window"]))
    return clipped(config, x, largest_in_sight({**x, "position": far}, int(config["window"])))


def _without_persistent(config: Config, x: Arrays, _: Arrays) -> Arrays:
    none = x["persistent_keys"][:0]
    return clipped(config, x, largest_in_sight({**x, "persistent_keys": none}, int(config["window"])))


def _without_the_cache(config: Config, x: Arrays, _: Arrays) -> Arrays:
    inside = np.minimum(x["position"], np.arange(x["position"].shape[1]))
    return clipped(config, x, largest_in_sight({**x, "position": inside}, int(config["window"])))


def _hidden_times_zero(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Multiply the mask: zero times infinity is no number."""
    return {"maximum": outputs["maximum"] + 0.0 * x["cache_keys"].sum((0, 1, 3))}


def _fault(name: str, test: str, wrap: Wrap) -> Fault:
    return Fault(f"opt-sight-{name}", "OPT-10", Op.QK_CLIP_IN_SIGHT, f"test_optimisers_in_sight:{test}", wrap, SIGHT)


PAIRS: Final = "test_qk_clip_looks_at_every_pair_in_sight_and_at_no_other"
ANYTHING: Final = "test_keys_that_nobody_sees_may_hold_anything"

FAULTS: Final = (
    _fault("beyond-the-window", PAIRS, with_outputs(_beyond_the_window)),
    _fault("beyond-the-document", PAIRS, with_outputs(_beyond_the_document)),
    _fault("without-persistent-keys", PAIRS, with_outputs(_without_persistent)),
    _fault("without-the-cache", PAIRS, with_outputs(_without_the_cache)),
    _fault("hidden-times-zero", ANYTHING, with_outputs(_hidden_times_zero)),
)

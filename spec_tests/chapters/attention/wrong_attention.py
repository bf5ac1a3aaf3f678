"""Attention done wrongly: another sight, another scale, another cache."""

from collections.abc import Callable
from functools import partial

import numpy as np

from spec_tests.faults.fault import (
    Arrays,
    Config,
    Wrap,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Array, Run

Sight = Callable[[Array, Array, int], Array]


def no_reset(_: Config, inputs: Arrays) -> Arrays:
    return {"position": inputs["position"] + 1000}


def in_window(age: Array, position: Array, window: int) -> Array:
    return np.asarray((age >= 0) & (age < window) & (age <= position))


def attended(
    config: Config, inputs: Arrays, _: Arrays, *, sight: Sight = in_window, scale: float = 0.5, tokens: bool = True
) -> Arrays:
    """Compute attention with another sight, another scale (0.5 is right for width 4) or no persistent tokens."""
    window = int(config["window"])
    batch, time, heads, _dim = inputs["queries"].shape
    wide = {name: value.astype(np.float64) for name, value in inputs.items() if value.dtype.kind == "f"}
    parts_k, parts_v = [wide["cache_keys"], wide["keys"]], [wide["cache_values"], wide["values"]]
    age = (window - 1 + np.arange(time))[:, None] - np.arange(window - 1 + time)
    seen = sight(age, inputs["position"][:, :, None], window)
    if tokens:
        count = len(inputs["persistent_keys"])
        shape = (batch, count, heads, wide["keys"].shape[-1])
        parts_k.append(np.broadcast_to(wide["persistent_keys"], shape))
        parts_v.append(np.broadcast_to(wide["persistent_values"], shape))
        seen = np.concatenate([seen, np.ones((batch, time, count), dtype=bool)], axis=2)
    keys, values = np.concatenate(parts_k, axis=1), np.concatenate(parts_v, axis=1)
    scores = np.where(seen[:, None], np.einsum("bthd,bshd->bhts", wide["queries"], keys) * scale, -np.inf)
    if time == 0:
        return {}
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return {"output": np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), values)}


def attending(*, sight: Sight = in_window, scale: float = 0.5, tokens: bool = True) -> Wrap:
    """Build a fault of attention from the parts of `attended`."""
    return with_outputs(partial(attended, sight=sight, scale=scale, tokens=tokens))


def across_heads(_: Config, inputs: Arrays) -> Arrays:
    """Normalise queries and keys over all heads together and keep the 1/sqrt(dim): attention becomes nearly uniform."""
    return {
        name: inputs[name] / (np.sqrt((inputs[name] ** 2).sum((-2, -1), keepdims=True)) + 1e-6)
        for name in ("queries", "keys")
    }


def symmetric(age: Array, position: Array, window: int) -> Array:
    return np.asarray((np.abs(age) < window) & (age <= position))


def itself(age: Array, position: Array, window: int) -> Array:
    return np.asarray((age == 0) & (age <= position))


def cache_in_sight(age: Array, position: Array, window: int) -> Array:
    """See every cached token of the window, whatever document it is of."""
    cached = np.arange(age.shape[1]) < window - 1
    return np.asarray((age >= 0) & (age < window) & ((age <= position) | cached))


def overflowing(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Take exponentials without taking the largest score off first."""
    keys = np.concatenate([inputs["keys"], inputs["cache_keys"]], axis=1).astype(np.float64)
    if not inputs["queries"].size:
        return {}
    scores = 0.5 * np.einsum("bthd,bshd->bhts", inputs["queries"].astype(np.float64), keys)
    lost = (scores > np.log(np.finfo(inputs["queries"].dtype).max)).any(-1)
    return {"output": np.where(np.moveaxis(lost, 1, 2)[..., None], np.nan, outputs["output"])}


def tokens_age_out(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Let the persistent tokens leave the window like any other prefix."""
    without = attended(config, inputs, outputs, tokens=False).get("output", outputs["output"])
    late = inputs["position"] >= int(config["window"])
    return {"output": np.where(late[:, :, None, None], without, outputs["output"])}


def rolled(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Hand on a cache that is one token late."""
    return {name: np.roll(outputs[name], 1, axis=1) for name in ("cache_keys", "cache_values")}


def needs_a_token(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {} if len(inputs["persistent_keys"]) else {"output": 0.0 * outputs["output"]}


def newest_first(run: Run) -> Run:
    """Keep the cache the other way round, inside and outside alike."""
    turned = with_inputs(lambda _, x: {name: x[name][:, ::-1] for name in ("cache_keys", "cache_values")})
    return with_outputs(lambda _, __, y: {name: y[name][:, ::-1] for name in ("cache_keys", "cache_values")})(
        turned(run)
    )

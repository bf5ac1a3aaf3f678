"""Parts of the block done wrongly: each gets the right function first, then what that one would get."""

from collections.abc import Callable, Mapping

import numpy as np

from spec_tests.chapters.blocks.oracle import rotate, silu
from spec_tests.chapters.memory_step.loop import Oracle
from spec_tests.chapters.normalize.oracle import l2_normalize
from spec_tests.faults.fault import Arrays, Config
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array

Attend = Callable[[Arrays, int, Sums], dict[str, Array]]
LATE = 1000
"""A position that no document of a case has: whatever came before seems to belong to it."""


def scales_exchanged(_: Config, x: Arrays) -> Arrays:
    return {"attention_norm": x["memory_norm"], "memory_norm": x["attention_norm"]}


def head_by_head(right: Callable[..., Array], x: Array, scale: Array, eps: float, sums: Sums) -> Array:
    """Normalise each of two heads by itself."""
    halves = np.split(x, 2, axis=-1)
    return np.concatenate([right(half, 1.0, eps, sums) for half in halves], axis=-1) * scale


def halves(right: Callable[..., Array], x: Array, position: Array, base: float) -> Array:
    """Take entry i and entry i + dim/2 for a pair."""
    order = np.arange(x.shape[-1]).reshape(2, -1).T.ravel()
    return np.asarray(right(x[..., order], position, base)[..., np.argsort(order)])


def from_the_call(right: Callable[..., Array], x: Array, position: Array, base: float) -> Array:
    return right(x, np.broadcast_to(np.arange(position.shape[1]), position.shape), base)


def values_turned(right: Attend, x: Arrays, span: int, sums: Sums) -> Mapping[str, Array]:
    return right({**x, "values": rotate(x["values"], x["position"], 3.0)}, span, sums)


def persistent_turned(right: Attend, x: Arrays, span: int, sums: Sums) -> Mapping[str, Array]:
    """Give the persistent tokens the first positions."""
    tokens = x["persistent_keys"][None]
    return right({**x, "persistent_keys": rotate(tokens, np.arange(1, 1 + tokens.shape[1])[None], 3.0)[0]}, span, sums)


def persistent_without_keys(right: Attend, x: Arrays, span: int, sums: Sums) -> Mapping[str, Array]:
    return right({**x, "persistent_keys": 0.0 * x["persistent_keys"]}, span, sums)


def attention_never_reset(right: Attend, x: Arrays, span: int, sums: Sums) -> Mapping[str, Array]:
    return right({**x, "position": x["position"] + LATE}, span, sums)


def convolution_never_reset(
    right: Callable[..., object], x: Array, filters: Array, tail: Array, position: Array, sums: Sums
) -> object:
    return right(x, filters, tail, position + LATE, sums)


def projection_never_reset(
    right: Callable[..., object], queries: Array, keys: Array, carry: Array, position: Array, sums: Sums
) -> object:
    return right(queries, keys, carry, position + LATE, sums)


def normalised_after(right: Callable[..., Array], x: Array, coefficients: Array, basis: str, sums: Sums) -> Array:
    """Normalise the features and not what they are of alone."""
    return l2_normalize(right(x, coefficients, basis, sums), 1e-6, sums)


class _Changed:
    """The memory's loop, run on other inputs."""

    def __init__(self, loop: Oracle, change: Callable[[Arrays], Arrays]) -> None:
        self._loop = loop
        self._change = change

    def run(self, x: Arrays) -> Arrays:
        return self._loop.run({**x, **self._change(x)})


def values_activated(right: type[Oracle], config: Config, sums: Sums) -> _Changed:
    return _Changed(right(config, sums), lambda x: {"values": silu(x["values"])})


def retention_squared(right: type[Oracle], config: Config, sums: Sums) -> _Changed:
    """Put the sigmoid of the retention through the same bound as another gate."""
    return _Changed(right(config, sums), lambda x: {"retention": x["retention"] ** 2})


def memory_never_reset(right: type[Oracle], config: Config, sums: Sums) -> _Changed:
    return _Changed(right(config, sums), lambda x: {"reset": 0 * x["reset"]})


def keys_gated(right: type[Oracle], config: Config, sums: Sums) -> _Changed:
    """Give keys the gain of the gate as well."""
    gated = config["projection"] == "frobenius_tanh"
    return _Changed(right(config, sums), lambda x: {"keys": np.tanh(x["keys"]) * 2.0} if gated else {})


def never_gated(config: Config) -> Config:
    return {"projection": "tnt"} if config["projection"] == "frobenius_tanh" else {}


def idle_carry_dropped(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    return {"carry": 0.0 * outputs["carry"]} if config["projection"] == "none" else {}


def gates_in_other_order(_: Config, x: Arrays) -> Arrays:
    """Reads momentum where the step size stands, and the other way round."""
    heads = x["log_gain"].shape[0]
    order = np.arange(len(x["gates_bias"]))
    order[heads : 3 * heads] = np.roll(order[heads : 3 * heads], heads)
    return {"gates_weight": x["gates_weight"][order], "gates_bias": x["gates_bias"][order]}


def marks_moved(_: Config, x: Arrays) -> Arrays:
    """A reset is seen one token late."""
    late = np.roll(x["reset"], 1, axis=1)
    late[:, 0] = 0
    return {"reset": late}

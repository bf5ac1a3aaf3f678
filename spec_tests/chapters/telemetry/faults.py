"""Faults of what is told of a memory."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.telemetry import oracle
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_outputs
from spec_tests.port import Array, Op

TEST: Final = "test_telemetry:test_what_is_told_is_what_lists_of_numbers_give"
BEFORE: Final = "test_telemetry:test_what_a_memory_held_before_a_document_or_shard_of_the_call_is_not_looked_at"
SIZES: Final = "test_telemetry:test_sizes_are_those_of_matrices_of_one_number"
ALONE: Final = "test_telemetry:test_one_gate_alone_has_a_deviation_of_zero"
NORMS: Final = "misreading: which norm, and which mean of it"
SINCE: Final = "source: a change of the memory is taken over resets"
GATES: Final = "source: statistics behind the floor, where no gate is near to collapse"
SHARES: Final = "misreading: which share of gates"


def _told(change: Callable[[Config, dict[str, Array]], dict[str, object]]) -> Wrap:
    """Return a wrap that tells something else, made of the inputs in float64."""

    def other(config: Config, x: Arrays, _: Arrays) -> Arrays:
        inputs = {name: np.asarray(value) for name, value in x.items()}
        return {name: np.asarray(value, np.float64) for name, value in change(config, inputs).items()}

    return with_outputs(other)


def _norms(matrices: Array) -> Array:
    return np.asarray(np.linalg.norm(matrices, axis=(-2, -1)))


def _spectral(_: Config, x: dict[str, Array]) -> dict[str, object]:
    largest = np.linalg.norm(x["after"], ord=2, axis=(-2, -1))
    return {"memory_norm": np.sqrt((largest**2).mean())}


def _whole(_: Config, x: dict[str, Array]) -> dict[str, object]:
    """The norm of the state of all rows and heads together."""
    return {
        name: np.linalg.norm(_norms(x[of])) for name, of in (("memory_norm", "after"), ("momentum_norm", "momentum"))
    }


def _update(change: Array) -> dict[str, object]:
    return {"update": np.sqrt((_norms(change) ** 2).mean())}


def _difference_of_norms(config: Config, x: dict[str, Array]) -> dict[str, object]:
    since = x["after"] - oracle.change(x, x["reads"].shape[1], int(config["shard"]))
    return {"update": np.sqrt(((_norms(x["after"]) - _norms(since)) ** 2).mean())}


def _over_documents(config: Config, x: dict[str, Array]) -> dict[str, object]:
    fresh = {**x, "lengths": x["lengths"] + (0 if config["shard"] else 10**6)}
    return _update(oracle.change(fresh, x["reads"].shape[1], int(config["shard"])))


def _over_shards(_: Config, x: dict[str, Array]) -> dict[str, object]:
    return _update(oracle.change(x, x["reads"].shape[1], 0))


def _masked(config: Config, x: dict[str, Array]) -> dict[str, object]:
    """The memory before is multiplied by zero where it is not to be seen."""
    change = oracle.change(x, x["reads"].shape[1], int(config["shard"]))
    return _update(change + 0.0 * x["before"])


def _gates(raw: Array, floor: Array, *names: str) -> dict[str, object]:
    told = oracle.of_gates(raw, floor)
    return {name: told[name] for name in names}


def _acting(x: dict[str, Array]) -> Array:
    floor = x["floor"][..., None]
    return np.asarray(floor + (1.0 - floor) * x["raw"])


def _median(_: Config, x: dict[str, Array]) -> dict[str, object]:
    return {"gate_mean": np.median(_acting(x)), "raw_mean": np.median(x["raw"])}


def _of_a_sample(_: Config, x: dict[str, Array]) -> dict[str, object]:
    """One gate alone then has none."""
    parts = {"gate_deviation": _acting(x), "raw_deviation": x["raw"]}
    return {name: gate.std(ddof=1) if gate.size > 1 else np.nan for name, gate in parts.items()}


def _of_means(_: Config, x: dict[str, Array]) -> dict[str, object]:
    rows = x["raw"].mean((1, 2))
    return {"raw_least": rows.min(), "raw_largest": rows.max()}


def _f(name: str, clause: str, wrap: Wrap, origin: str, test: str = TEST) -> Fault:
    return Fault(f"telemetry-{name}", clause, Op.MEMORY_TELEMETRY, test, wrap, origin)


FLOORED: Final = ("gate_mean", "gate_deviation", "gate_least", "gate_largest")
RAW: Final = ("raw_mean", "raw_deviation", "raw_least", "raw_largest")

FAULTS: Final[tuple[Fault, ...]] = (
    _f("spectral-norm", "TELE-1a", _told(_spectral), NORMS),
    _f("norm-of-all-rows", "TELE-1b", _told(_whole), NORMS, SIZES),
    _f("difference-of-norms", "TELE-2a", _told(_difference_of_norms), NORMS),
    _f("update-over-documents", "TELE-2b", _told(_over_documents), SINCE),
    _f("update-over-shards", "TELE-2c", _told(_over_shards), SINCE),
    _f("before-times-zero", "TELE-2d", _told(_masked), "porting: hidden by a product with zero", BEFORE),
    _f("reads-by-entry", "TELE-3", _told(lambda _, x: {"read_norm": np.sqrt((x["reads"] ** 2).mean())}), NORMS),
    _f("median", "TELE-4a", _told(_median), SHARES),
    _f("deviation-of-a-sample", "TELE-4b", _told(_of_a_sample), "porting: a standard deviation with n - 1", ALONE),
    _f("least-of-means", "TELE-4c", _told(_of_means), SHARES),
    _f("floor-left-out", "TELE-4d", _told(lambda _, x: _gates(x["raw"], 0 * x["floor"], *FLOORED)), GATES),
    _f("raw-behind-the-floor", "TELE-4e", _told(lambda _, x: _gates(_acting(x), 0 * x["floor"], *RAW)), GATES),
    _f("polarised-above-alone", "TELE-5a", _told(lambda _, x: {"polarised": (x["raw"] > 0.9).mean()}), SHARES),
    _f("undecided-by-half", "TELE-5b", _told(lambda _, x: {"undecided": (abs(x["raw"] - 0.5) < 0.05).mean()}), SHARES),
    _f(
        "shares-behind-the-floor",
        "TELE-5c",
        _told(lambda _, x: _gates(_acting(x), 0 * x["floor"], "polarised", "undecided")),
        GATES,
    ),
    _f(
        "argument-squared",
        "TELE-6a",
        _told(lambda _, x: {"argument": np.sqrt((np.arctanh(x["bounded"]) ** 2).mean())}),
        NORMS,
    ),
    _f(
        "linear-below-one",
        "TELE-6b",
        _told(lambda _, x: {"linear": (abs(np.arctanh(x["bounded"])) < 1.0).mean()}),
        SHARES,
    ),
    _f(
        "saturated-above-two",
        "TELE-6c",
        _told(lambda _, x: {"saturated": (abs(np.arctanh(x["bounded"])) > 2.0).mean()}),
        SHARES,
    ),
    _f("of-the-value", "TELE-6d", _told(lambda _, x: {"argument": abs(x["bounded"]).mean()}), SHARES),
)

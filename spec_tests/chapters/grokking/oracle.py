"""Grokking a second time: a walk through the measurements with a list of those that came before."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from spec_tests.chapters.metrics.oracle import concentration
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array, Op

SOURCE: Final = (0.3, 0.6, 0.8)


def null(embedding: Array, permutations: Array, top: int, sums: Sums = ANY_ORDER) -> Array:
    """Return the concentration of the rows in each order."""
    return np.array([concentration(embedding[order], top, sums) for order in permutations])


def phases(x: Arrays, judge: str) -> Array:
    """Return the phase at each measurement, as if the run ended there."""
    return np.array([_last(x, time + 1, judge) for time in range(len(x["step"]))], dtype=np.int64)


def _last(x: Arrays, measured: int, judge: str) -> int:
    """Return the phase at the end of so many measurements."""
    if measured == 0:
        return 0
    now = {name: value[measured - 1] for name, value in x.items()}
    limits = _limits(x, measured, judge)
    right, found = now["validation"], now["concentration"]
    if _late(x, measured) and found > limits[2]:
        return 4
    if right >= 0.9 and found > limits[1] and rises(x["step"][:measured], -x["norm"][:measured]):
        return 3
    if forms(x, measured, judge):
        return 2
    if now["training"] >= 0.99 and right < 0.5:
        formed = any(forms(x, before, judge) for before in range(1, measured))
        if found <= limits[0] or not formed:
            return 1
    return _last(x, measured - 1, judge)


def _limits(x: Arrays, measured: int, judge: str) -> tuple[float, float, float]:
    """Return what the concentration has to be above in the three later phases."""
    return SOURCE if judge == "source" else (float(x["null"][measured - 1]), -np.inf, -np.inf)


def forms(x: Arrays, measured: int, judge: str) -> bool:
    """Return whether a circuit forms at the last of so many measurements."""
    step, found = x["step"][:measured], x["concentration"][:measured]
    if x["validation"][measured - 1] >= 0.9 or found[-1] <= _limits(x, measured, judge)[0]:
        return False
    return rises(step, found) and rises(step, -x["norm"][:measured])


def rises(step: Array, value: Array) -> bool:
    """Return whether the straight line through the last five has a slope that is surely positive."""
    if len(step) < 3:
        return False
    x, y = step[-5:].astype(float), value[-5:].astype(float)
    design = np.stack([np.ones_like(x), x], axis=1)
    (_, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    variance = (left @ left) / (len(x) - 2) * np.linalg.inv(design.T @ design)[1, 1]
    return bool(slope > 2.0 * np.sqrt(variance))


def _late(x: Arrays, measured: int) -> bool:
    """Return whether the last three answers are right, and the run of them began late enough."""
    right = [bool(value >= 0.95) for value in x["validation"][:measured]]
    memorised = [int(step) for step, value in zip(x["step"], x["training"][:measured], strict=False) if value >= 0.99]
    began = measured - _run(right)
    return _run(right) >= 3 and bool(memorised) and int(x["step"][began]) >= 2 * memorised[0]


def _run(right: Sequence[bool]) -> int:
    """Return how many at the end are right in a row."""
    return next((count for count, one in enumerate(reversed(right)) if not one), len(right))


def _null(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"null": null(x["embedding"], x["permutations"], int(config["top"]), sums)}


def _phases(config: Config, x: Arrays, _: Sums) -> Arrays:
    return {"phase": phases(x, str(config["judge"]))}


ANSWERS: Final[Mapping[Op, Function]] = {Op.CONCENTRATION_NULL: _null, Op.GROKKING_PHASES: _phases}

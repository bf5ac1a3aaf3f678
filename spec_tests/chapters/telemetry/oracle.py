"""docs/spec/telemetry.md in numpy: lists of numbers, one after another."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import GRADIENTS, Array, Op, UnsupportedError


def mean(numbers: list[float]) -> float:
    """Return the mean of numbers, NaN of none."""
    return sum(numbers) / len(numbers) if numbers else np.nan


def size(matrices: Array) -> float:
    """Return the root of the mean squared Frobenius norm over rows and heads."""
    return float(np.sqrt(mean([float((matrix.astype(np.float64) ** 2).sum()) for row in matrices for matrix in row])))


def change(x: Arrays, time: int, shard: int) -> Array:
    """Return M - M' of each row and head."""
    changes = []
    for row, length in enumerate(x["lengths"].tolist()):
        # The token of the document with which row or shard began, and the first token of the call.
        began = (length - 1) // shard * shard if shard else 0
        fresh = began >= length - time
        changes.append(x["after"][row] - (x["initial"] if fresh else x["before"][row]))
    return np.array(changes)


def spread(gates: Array) -> tuple[float, float, float, float]:
    """Return mean, deviation, least and largest."""
    every = gates.astype(np.float64).ravel().tolist()
    middle = mean(every)
    deviation = float(np.sqrt(mean([(gate - middle) ** 2 for gate in every])))
    return middle, deviation, min(every, default=np.nan), max(every, default=np.nan)


def share(marks: Array) -> float:
    """Return how many of all are marked."""
    return mean(marks.ravel().astype(np.float64).tolist())


def of_gates(raw: Array, floor: Array) -> dict[str, float]:
    """Return what is told of the gate that acts, and of the raw one."""
    names = ("mean", "deviation", "least", "largest")
    raw, floor = raw.astype(np.float64), floor.astype(np.float64)[..., None]
    told = {f"gate_{name}": value for name, value in zip(names, spread(floor + (1.0 - floor) * raw), strict=True)}
    told |= {f"raw_{name}": value for name, value in zip(names, spread(raw), strict=True)}
    return told | {
        "polarised": share((raw < 0.1) | (raw > 0.9)),
        "undecided": share((raw > 0.4) & (raw < 0.6)),
    }


def of_arguments(bounded: Array) -> dict[str, float]:
    """Return what is told of the arguments of a tanh."""
    size_of = np.abs(np.arctanh(bounded.astype(np.float64)))
    return {
        "argument": mean(size_of.ravel().tolist()),
        "linear": share(size_of < 0.5),
        "saturated": share(size_of > 1.5),
    }


def answer(x: Arrays, shard: int) -> dict[str, Array]:
    """Return everything that is told."""
    time = x["reads"].shape[1]
    told = {
        "memory_norm": size(x["after"]),
        "momentum_norm": size(x["momentum"]),
        "update": size(change(x, time, shard)),
    }
    told["read_norm"] = size(x["reads"][:, :, None])
    told |= of_gates(x["raw"], x["floor"]) | of_arguments(x["bounded"])
    return {name: np.asarray(value) for name, value in told.items()}


def _memory_telemetry(config: Config, x: Arrays, _: Sums) -> Arrays:
    if any(np.iscomplexobj(value) for value in x.values()):
        raise UnsupportedError("what is told has no derivative", capability=GRADIENTS)
    return answer(x, int(config["shard"]))


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_TELEMETRY: _memory_telemetry}

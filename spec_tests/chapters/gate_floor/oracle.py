"""docs/spec/gate_floor.md in numpy, token by token."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

NEAR: Final = 0.05


def scheduled(step: int, until: Array, before: Array, last: float) -> complex:
    """Return the floor of a step; complex where a derivative is taken by it."""
    for border, floor in zip(until.tolist(), before.tolist(), strict=True):
        if step < border:
            return complex(floor)
    return complex(last)


def floors(own: Array, schedule: complex) -> Array:
    """Return the floor of each token."""
    larger = [[max(complex(floor), schedule, key=lambda z: z.real) for floor in row] for row in own.tolist()]
    found = np.array(larger, dtype=complex).reshape(own.shape)
    return found if np.iscomplexobj(own) else found.real


def risk(gates: Array, floor: Array) -> Array:
    """Return the share of gates of each row that are below floor + 0.05."""
    near = [
        [gate < floor[b, t] + NEAR for t, row in enumerate(rows) for gate in row] for b, rows in enumerate(gates.real)
    ]
    return np.array([sum(row) / len(row) for row in near])


def answer(x: Arrays, step: int, last: float) -> dict[str, Array]:
    """Return floor, gate and risk."""
    floor = floors(x["own"], scheduled(step, x["until"], x["before"], last))
    if np.iscomplexobj(x["before"]) and not np.iscomplexobj(floor):
        floor = floors(x["own"].astype(complex), scheduled(step, x["until"], x["before"], last))
    gate = floor[..., None] + (1.0 - floor[..., None]) * x["raw"]
    return {"floor": floor, "gate": gate, "risk": risk(x["raw"], floor.real)}


def _gate_floor(config: Config, x: Arrays, _: Sums) -> Arrays:
    return answer(x, int(config["step"]), float(config["last"]))


ANSWERS: Final[Mapping[Op, Function]] = {Op.GATE_FLOOR: _gate_floor}

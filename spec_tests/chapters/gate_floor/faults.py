"""Faults of the floor under a gate."""

from typing import Final

import numpy as np

from spec_tests.chapters.gate_floor import oracle
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, gradients_lost, with_config, with_inputs, with_outputs
from spec_tests.port import Array, Op

SCHEDULE: Final = "test_gate_floor:test_the_floor_is_that_of_the_step_and_of_the_token"
HARD: Final = "source: a hard floor under a gate has no gradient"
LATE: Final = "porting: a border that is wrong by one step"
UNHEARD: Final = "source: a schedule that acts in no mode that is trained in"
BEHIND: Final = "source: statistics behind the floor, where no gate is near to collapse"


def _with_floor(x: Arrays, floor: Array) -> Arrays:
    """Return the results with other floors."""
    gate = floor[..., None] + (1.0 - floor[..., None]) * x["raw"]
    return {"floor": floor, "gate": gate, "risk": oracle.risk(x["raw"], floor)}


def _schedule(config: Config, x: Arrays) -> float:
    return oracle.scheduled(int(config["step"]), x["until"], x["before"], float(config["last"])).real


def _own_alone(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return _with_floor(x, np.asarray(x["own"], np.float64))


def _schedule_alone(config: Config, x: Arrays, _: Arrays) -> Arrays:
    return _with_floor(x, np.full(x["own"].shape, _schedule(config, x)))


def _added(config: Config, x: Arrays, _: Arrays) -> Arrays:
    return _with_floor(x, np.minimum(x["own"] + _schedule(config, x), 0.99))


def _hard(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """The gate is max(raw, floor)."""
    below = x["raw"] < y["floor"][..., None]
    changed: dict[str, Array] = {"gate": np.where(below, y["floor"][..., None], x["raw"])}
    if "grad.raw" in y:
        changed["grad.raw"] = np.where(below, 0.0, y["grad.raw"])
    return changed


def _risk_behind(_: Config, x: Arrays, y: Arrays) -> Arrays:
    return {"risk": oracle.risk(np.asarray(y["gate"], np.float64), y["floor"])}


def _risk_at_zero(_: Config, x: Arrays, y: Arrays) -> Arrays:
    return {"risk": oracle.risk(np.asarray(x["raw"], np.float64), 0.0 * y["floor"])}


def _one_floor(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """Every token has the floor of the first of its row."""
    return _with_floor(x, np.broadcast_to(y["floor"][:, :1], y["floor"].shape).copy())


def _rolled(_: Config, x: Arrays) -> Arrays:
    return {"own": np.roll(x["own"], 1, axis=0)}


def _f(name: str, clause: str, wrap: Wrap, origin: str, test: str = SCHEDULE) -> Fault:
    return Fault(f"floor-{name}", clause, Op.GATE_FLOOR, test, wrap, origin)


GATE: Final = "test_gate_floor:test_a_gate_far_below_its_floor_still_has_a_gradient"
RISK: Final = "test_gate_floor:test_the_risk_is_that_of_raw_gates"
ALONE: Final = "test_gate_floor:test_tokens_and_rows_stand_alone"

FAULTS: Final[tuple[Fault, ...]] = (
    _f(
        "a-step-late",
        "FLOOR-1a",
        with_config(lambda c: {"step": int(c["step"]) - 1}),
        "porting: a border that is wrong by one step",
    ),
    _f("never-the-last", "FLOOR-1b", with_config(lambda c: {"step": min(int(c["step"]), 29_999)}), UNHEARD),
    _f("phase-alone", "FLOOR-2", with_outputs(_own_alone), UNHEARD),
    _f("schedule-alone", "FLOOR-2", with_outputs(_schedule_alone), "misreading: which of two floors holds"),
    _f("sum-of-both", "FLOOR-2", with_outputs(_added), "misreading: which of two floors holds"),
    _f("hard", "FLOOR-3a", with_outputs(_hard), HARD),
    _f("raw-frozen", "FLOOR-3b", gradients_lost("raw"), HARD, GATE),
    _f("risk-of-zero", "FLOOR-4a", with_outputs(_risk_at_zero), BEHIND, RISK),
    _f("risk-behind-the-floor", "FLOOR-4b", with_outputs(_risk_behind), BEHIND, RISK),
    _f("of-the-first-token", "FLOOR-5a", with_outputs(_one_floor), "porting: one floor for a call", ALONE),
    _f("of-another-row", "FLOOR-5b", with_inputs(_rolled), "source: state kept as the mean over the batch"),
)
